package playback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/mediatime"
	"github.com/watergy/waterfall/stream/internal/wish"
)

// reportEvery is how often a track's clock is told to the player (RFC 3550, section 6.4.1).
const reportEvery = time.Second

// viewer is one browser: a player of its own and one goroutine that sends what is due.
type viewer struct {
	*wish.Peer
	whep *WHEP
	src  Source
	outs map[stream.Track]*out

	cancel context.CancelFunc // ends the goroutines
	wg     sync.WaitGroup
	once   sync.Once
}

// out is one track on its way to the browser. The sending goroutine owns it.
type out struct {
	info  stream.TrackInfo
	local *webrtc.TrackLocalStaticRTP
	ssrc  uint32

	started  bool
	base     uint64 // origin number of the packet with sequence number 0
	packets  uint32
	octets   uint32
	reported time.Time
}

func newViewer(w *WHEP, p *wish.Peer, src Source) *viewer {
	return &viewer{Peer: p, whep: w, src: src, outs: map[stream.Track]*out{}}
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
		if e := s.GetParameters().Encodings; len(e) > 0 {
			v.outs[tracks[i].Track].ssrc = uint32(e[0].SSRC)
		}
		// Reading a sender's RTCP is what serves the browser's NACKs. Requests for
		// keyframes have no use: the next is never far, and the group before it is here.
		v.wg.Go(func() {
			for {
				if _, _, err := s.ReadRTCP(); err != nil {
					return
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
		defer v.Finish()
		select {
		case <-v.Connected:
		case <-ctx.Done():
			return
		}
		err := v.send(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
			v.whep.cfg.Log.Warn("viewer lost", "err", err)
		}
	})
}

// Close ends the viewer and waits for its goroutines.
func (v *viewer) Close() error {
	v.cancel()
	err := v.Peer.Close()
	v.wg.Wait()
	v.once.Do(func() { v.whep.viewers.Add(-1) })
	return err
}

// send plays the stream from its last group on, until it ends.
func (v *viewer) send(ctx context.Context) error {
	player := v.src.Player()
	defer player.Close()
	var clock mediatime.Clock
	first := v.whep.cfg.OnFirstFrame
	for {
		samples, err := player.Next(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, s := range samples {
			o := v.outs[s.Track]
			if o == nil {
				continue
			}
			wall := clock.Wall(s.Track, o.info.ClockRate, s.Time, s.At, now)
			if now.Sub(o.reported) >= reportEvery {
				o.reported = now
				if err := v.WriteRTCP([]rtcp.Packet{o.report(s.Time, wall, now)}); err != nil {
					return err
				}
			}
			if err := o.send(s); err != nil {
				return err
			}
			if first != nil && s.Marker && (o.info.Kind == "video" || !v.hasVideo()) {
				first(v.src.History.ID())
				first = nil
			}
		}
	}
}

func (v *viewer) hasVideo() bool {
	for _, o := range v.outs {
		if o.info.Kind == "video" {
			return true
		}
	}
	return false
}

// send writes one packet. Sequence numbers follow the origin's: what is missing is
// missing for the browser too, which then waits for the next keyframe as it should.
func (o *out) send(s stream.Sample) error {
	if !o.started {
		o.started, o.base = true, s.Number
	}
	o.packets++
	o.octets += uint32(len(s.Payload))
	return o.local.WriteRTP(&rtp.Packet{
		Header: rtp.Header{
			Version: 2, Marker: s.Marker && o.info.Kind == "video",
			SequenceNumber: uint16(s.Number - o.base), Timestamp: s.Time,
		},
		Payload: s.Payload,
	})
}

// report says which RTP time it is now, given that rtpTime is at wall.
func (o *out) report(rtpTime uint32, wall, now time.Time) *rtcp.SenderReport {
	late := now.Sub(wall).Seconds() * float64(o.info.ClockRate)
	return &rtcp.SenderReport{
		SSRC: o.ssrc, NTPTime: mediatime.NTP(now), RTPTime: rtpTime + uint32(int64(late)),
		PacketCount: o.packets, OctetCount: o.octets,
	}
}
