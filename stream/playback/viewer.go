package playback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/burst"
	"github.com/watergy/waterfall/stream/internal/mediatime"
	"github.com/watergy/waterfall/stream/internal/wish"
)

// reportEvery is how often a track's clock is told to the player (RFC 3550, section 6.4.1).
const reportEvery = time.Second

const (
	maxAgain    = 256       // packets that one NACK may ask for
	repairShare = 5         // one part in five of what is sent may be sent again …
	repairMost  = 256 << 10 // … and at first, or after a while without loss, so many bytes
)

// viewer is one browser. Its stage plays to it once it is connected.
type viewer struct {
	*wish.Peer
	whep *WHEP
	src  Source
	outs map[stream.Track]*out

	// owned by the stage
	play  *stream.Player
	clock mediatime.Clock
	first func(stream.ID) // nil: has been called
	over  bool

	repairs atomic.Int64 // bytes that may be sent again

	cancel context.CancelFunc // ends the goroutines
	wg     sync.WaitGroup
	once   sync.Once
}

// out is one track on its way to the browser. The sending goroutine owns it.
type out struct {
	info  stream.TrackInfo
	local *webrtc.TrackLocalStaticRTP
	ssrc  uint32
	kind  uint8 // payload type

	base     atomic.Uint64 // 1 + origin number of the packet with sequence number 0; 0: none sent
	newest   atomic.Uint64 // origin number
	packets  uint32
	octets   uint32
	reported time.Time
}

func newViewer(w *WHEP, p *wish.Peer, src Source) *viewer {
	v := &viewer{Peer: p, whep: w, src: src, outs: map[stream.Track]*out{}, first: w.cfg.OnFirstFrame}
	v.repairs.Store(repairMost)
	return v
}

func (v *viewer) answer(ctx context.Context, offer *wish.Offer, tracks []stream.TrackInfo, codecs []webrtc.RTPCodecParameters) (string, error) {
	senders := make([]*webrtc.RTPSender, len(tracks))
	for i, t := range tracks {
		local, err := webrtc.NewTrackLocalStaticRTP(codecs[i].RTPCodecCapability, t.Kind, "waterfall")
		if err != nil {
			return "", err
		}
		if senders[i], err = v.AddTrack(local); err != nil {
			return "", err
		}
		v.outs[t.Track] = &out{info: t, local: local}
	}
	if err := v.Offered(offer); err != nil {
		return "", wish.Errorf(http.StatusBadRequest, "bad offer: %w", err)
	}
	answer, err := v.Answer(ctx)
	if err != nil {
		return "", err
	}
	for i, s := range senders {
		o := v.outs[tracks[i].Track]
		p := s.GetParameters()
		if len(p.Encodings) > 0 {
			o.ssrc = uint32(p.Encodings[0].SSRC)
		}
		if len(p.Codecs) > 0 {
			o.kind = uint8(p.Codecs[0].PayloadType)
		}
		// Requests for keyframes have no use: the next is never far, and the group before
		// it is here.
		v.wg.Go(func() {
			for {
				ps, _, err := s.ReadRTCP()
				if err != nil {
					return
				}
				for _, p := range ps {
					if n, ok := p.(*rtcp.TransportLayerNack); ok && n.MediaSSRC == o.ssrc {
						v.again(o, n)
					}
				}
			}
		})
	}
	return answer, nil
}

// start begins to send as soon as the connection is there.
func (v *viewer) start() {
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	v.wg.Go(func() {
		select {
		case <-v.Connected:
		case <-ctx.Done():
			v.Finish()
			return
		}
		v.whep.enter(v)
		select {
		case <-v.Done():
		case <-ctx.Done():
		}
		v.whep.leave(v)
		v.Finish()
	})
}

// Close ends the viewer and waits for its goroutines.
func (v *viewer) Close() error {
	v.cancel()
	err := v.Peer.Close()
	v.wg.Wait()
	v.once.Do(v.whep.cfg.Seats.Leave)
	return err
}

// show sends what is due, and says when to look again; samples is room for it.
func (v *viewer) show(now time.Time, samples []stream.Sample) (_ []stream.Sample, next time.Time) {
	for !v.over {
		var err error
		if samples, next, err = v.play.Due(now, samples[:0]); err == nil && len(samples) > 0 {
			err = v.send(now, samples)
		}
		if err != nil {
			v.over = true
			v.Finish()
			if !errors.Is(err, io.EOF) {
				v.whep.cfg.Log.Warn("viewer lost", "err", err)
			}
			return samples, time.Time{}
		}
		if len(samples) == 0 {
			break
		}
	}
	return samples, next
}

// send sends samples and, now and then, the tracks' clocks.
func (v *viewer) send(now time.Time, samples []stream.Sample) error {
	for _, s := range samples {
		o := v.outs[s.Track]
		if o == nil || now.Sub(o.reported) < reportEvery {
			continue
		}
		o.reported = now
		wall := v.clock.Wall(s.Track, o.info.ClockRate, s.Time, s.At, now)
		if err := v.WriteRTCP([]rtcp.Packet{o.report(s.Time, wall, now)}); err != nil {
			return err
		}
	}
	if err := v.stream(samples); err != nil {
		return err
	}
	for _, s := range samples {
		o := v.outs[s.Track]
		if v.first != nil && o != nil && s.Marker && (o.info.Kind == "video" || !v.hasVideo()) {
			v.first(v.src.History.ID())
			v.first = nil
		}
	}
	return nil
}

func (v *viewer) hasVideo() bool {
	for _, o := range v.outs {
		if o.info.Kind == "video" {
			return true
		}
	}
	return false
}

// stream sends samples, as one burst where that can be. Sequence numbers follow the
// origin's: what is missing is missing for the browser too, which then waits for the
// next keyframe as it should.
func (v *viewer) stream(samples []stream.Sample) error {
	fast := v.Path.Ready()
	if fast {
		v.Path.Begin(false)
		defer v.Path.Flush() // what the socket does not take is asked for again
	}
	sent := 0
	defer func() {
		if v.repairs.Add(int64(sent/repairShare)) > repairMost {
			v.repairs.Store(repairMost)
		}
	}()
	for _, s := range samples {
		o := v.outs[s.Track]
		if o == nil {
			continue
		}
		o.base.CompareAndSwap(0, s.Number+1)
		o.newest.Store(s.Number)
		o.packets++
		o.octets += uint32(len(s.Payload))
		sent += len(s.Payload)
		h := o.head(s.Number, s.Time, s.Marker)
		if fast {
			v.Path.Add(h, s.Payload)
		} else if err := o.slow(h, s.Payload); err != nil {
			return err
		}
	}
	return nil
}

// head is the RTP header of a packet: the same each time it is sent, so that sealing it
// again makes the same bytes.
func (o *out) head(number uint64, rtpTime uint32, marker bool) burst.Head {
	return burst.Head{
		Marker: marker && o.info.Kind == "video", Type: o.kind, SSRC: o.ssrc,
		Seq: uint16(number + 1 - o.base.Load()), Time: rtpTime,
	}
}

// slow sends through pion.
func (o *out) slow(h burst.Head, payload []byte) error {
	return o.local.WriteRTP(&rtp.Packet{
		Header:  rtp.Header{Version: 2, Marker: h.Marker, SequenceNumber: h.Seq, Timestamp: h.Time},
		Payload: payload,
	})
}

// again sends what the browser has lost from the history, as far as its share goes: a
// viewer that can't keep up would else be sent ever more.
func (v *viewer) again(o *out, n *rtcp.TransportLayerNack) {
	base, newest := o.base.Load(), o.newest.Load()
	if base == 0 {
		return
	}
	fast := v.Path.Ready()
	if fast {
		v.Path.Begin(false)
		defer v.Path.Flush()
	}
	budget := maxAgain
	for _, pair := range n.Nacks {
		for _, seq := range pair.PacketList() {
			// The number with this sequence number that is nearest below the newest.
			back := uint64(uint16(newest+1-base) - seq)
			if budget--; budget < 0 || back > newest+1-base || v.repairs.Load() <= 0 {
				return
			}
			p, ok := v.src.History.Get(o.info.Track, newest-back)
			if !ok {
				continue
			}
			payload, err := v.src.Sealer.Open(nil, p.Wire)
			if err != nil {
				continue
			}
			v.repairs.Add(-int64(len(payload)))
			h := o.head(p.Number, p.Time, p.Marker)
			if fast {
				v.Path.Add(h, payload)
			} else {
				_ = o.slow(h, payload) // lost again
			}
		}
	}
}

// report says which RTP time it is now, given that rtpTime is at wall.
func (o *out) report(rtpTime uint32, wall, now time.Time) *rtcp.SenderReport {
	late := now.Sub(wall).Seconds() * float64(o.info.ClockRate)
	return &rtcp.SenderReport{
		SSRC: o.ssrc, NTPTime: mediatime.NTP(now), RTPTime: rtpTime + uint32(int64(late)),
		PacketCount: o.packets, OctetCount: o.octets,
	}
}
