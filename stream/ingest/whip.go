package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream/internal/avc"
	"github.com/watergy/waterfall/stream/internal/codec"
	"github.com/watergy/waterfall/stream/internal/wish"
)

const (
	// keyframeEvery is how often a browser is asked for a keyframe: it makes none by itself.
	keyframeEvery = 2 * time.Second
	// keyframeGap is the least time between two requests.
	keyframeGap = time.Second
	// startBitrate (kbit/s) keeps Chromium from starting at 320x180.
	startBitrate = 2500
	// minBitrate (kbit/s) is what Chromium's estimate may not fall below: the publisher is on
	// this machine or near, and a picture of less is of no use to anyone.
	minBitrate = 400
)

// WHIPConfig for NewWHIP.
type WHIPConfig struct {
	Net transport.Net // nil: the system's network
	Log *slog.Logger
}

// WHIP serves RFC 9725 for one target: POST on its path, PATCH and DELETE below it. One
// publisher at a time.
type WHIP struct {
	target   Target
	cfg      WHIPConfig
	endpoint *wish.Endpoint

	mu   sync.Mutex // guards live and busy
	live *whipSession
	busy bool // live, or an offer is being answered
}

// NewWHIP serves at the path base.
func NewWHIP(t Target, base string, cfg WHIPConfig) (*WHIP, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &WHIP{target: t, cfg: cfg}
	w.endpoint = &wish.Endpoint{Base: strings.TrimSuffix(base, "/"), Log: cfg.Log, Open: w.open}
	return w, nil
}

func (w *WHIP) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.endpoint.ServeHTTP(rw, r) }

// Close ends the session that is live and waits for it.
func (w *WHIP) Close() error { return w.endpoint.Close() }

// NeedKeyframe asks the browser or encoder for a keyframe (at most one a second is sent).
func (w *WHIP) NeedKeyframe() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live != nil {
		w.live.askKeyframe()
	}
}

func (w *WHIP) open(r *http.Request, offer *wish.Offer) (wish.Session, string, error) {
	w.mu.Lock()
	if s := w.live; s != nil && s.ConnectionState() == webrtc.PeerConnectionStateDisconnected {
		w.mu.Unlock() // silent for 5 s: most likely this is its successor
		if err := s.Close(); err != nil {
			w.cfg.Log.Debug("close a silent publisher", "err", err)
		}
		w.mu.Lock()
	}
	if w.busy {
		w.mu.Unlock()
		return nil, "", wish.Errorf(http.StatusConflict, "somebody is publishing here already (hint: end that first)")
	}
	w.busy = true
	w.mu.Unlock()
	rid := offer.TakeHighest(r.UserAgent())
	s, answer, err := w.answer(r.Context(), offer, rid)
	w.mu.Lock()
	w.live, w.busy = s, err == nil
	w.mu.Unlock()
	if err != nil {
		return nil, "", err
	}
	return s, answer, nil
}

func (w *WHIP) answer(ctx context.Context, offer *wish.Offer, rid string) (*whipSession, string, error) {
	c, err := choose(offer)
	if err != nil {
		return nil, "", &wish.Error{Status: http.StatusNotAcceptable, Err: err}
	}
	feed, err := NewFeed(w.target, c.video, c.fmtp, c.audio, w.cfg.Log)
	if err != nil {
		return nil, "", err
	}
	peer, err := wish.NewPeer(wish.PeerConfig{Net: w.cfg.Net, Codecs: c.formats, Receive: true})
	if err != nil {
		return nil, "", err
	}
	s := &whipSession{Peer: peer, feed: feed, video: c.video, rid: rid, log: w.cfg.Log, need: make(chan struct{}, 1), over: w.over}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	peer.OnTrack(s.track)
	if err := peer.Offered(offer); err != nil {
		return nil, "", errors.Join(wish.Errorf(http.StatusBadRequest, "bad offer: %w", err), s.Close())
	}
	answer, err := peer.Answer(ctx)
	if err != nil {
		return nil, "", errors.Join(err, s.Close())
	}
	if c.video != "" {
		answer = withStartBitrate(answer, c.formats[0])
	}
	return s, answer, nil
}

// over makes room for the next publisher.
func (w *WHIP) over(s *whipSession) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live == s {
		w.live, w.busy = nil, false
	}
}

// chosen is what the answer will accept of an offer.
type chosen struct {
	formats []webrtc.RTPCodecParameters
	video   string // codec; empty: none
	fmtp    string
	audio   bool
}

// choose finds what to accept, or refuses with words. H.264 goes first, since every
// browser and player plays it; then the publisher's own order counts.
func choose(offer *wish.Offer) (chosen, error) {
	var c chosen
	video, audio := offer.Count("video"), offer.Count("audio")
	if video > 1 || audio > 1 || video+audio == 0 {
		return c, fmt.Errorf("%w: the offer has %d video and %d audio tracks (hint: publish one of each at most)", ErrRefused, video, audio)
	}
	if video > 0 {
		f, ok := chooseVideo(offer)
		if !ok {
			if _, ok := offer.Find(webrtc.MimeTypeH265, "", ""); ok {
				return c, fmt.Errorf("%w: H.265 (HEVC) does not play in most browsers, so it does not pass here (hint: choose H.264, or AV1)", ErrRefused)
			}
			return c, fmt.Errorf("%w: no H264, VP8, VP9 or AV1 in the offer (hint: choose H.264 as the video codec)", ErrRefused)
		}
		c.video, c.formats = f.MimeType[len("video/"):], append(c.formats, f)
	}
	if audio > 0 {
		f, ok := offer.Opus()
		if !ok {
			return c, fmt.Errorf("%w: no opus in the offer (hint: choose Opus as the audio codec)", ErrRefused)
		}
		c.audio, c.formats = true, append(c.formats, f)
	}
	return c, nil
}

func chooseVideo(offer *wish.Offer) (webrtc.RTPCodecParameters, bool) {
	// Constrained Baseline first: every browser makes and plays it.
	if f, ok := offer.H264("42e0", "42c0", "4200", "4d00", "6400"); ok {
		return f, true
	}
	for _, m := range offer.Medias {
		for _, f := range m.Codecs {
			name, isVideo := strings.CutPrefix(f.MimeType, "video/")
			switch {
			case !isVideo || !codec.Known(name) || strings.EqualFold(name, codec.H264): // its packetization mode 0
			case strings.EqualFold(name, codec.VP9) && max(avc.Param(f.SDPFmtpLine, "profile-id"), "0") != "0":
			case strings.EqualFold(name, codec.AV1) && max(avc.Param(f.SDPFmtpLine, "profile"), "0") != "0":
			default:
				return f, true
			}
		}
	}
	return webrtc.RTPCodecParameters{}, false
}

// withStartBitrate tells Chromium, by its private parameters, to start with a good picture,
// and not to fall to a postage stamp when a busy machine makes packets late.
func withStartBitrate(answer string, f webrtc.RTPCodecParameters) string {
	ask := fmt.Sprintf("x-google-start-bitrate=%d;x-google-min-bitrate=%d", startBitrate, minBitrate)
	fmtp, rtpmap := fmt.Sprintf("a=fmtp:%d ", f.PayloadType), fmt.Sprintf("a=rtpmap:%d ", f.PayloadType)
	has := strings.Contains(answer, fmtp)
	var out strings.Builder
	for line := range strings.Lines(answer) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, fmtp) {
			line += ";" + ask
		}
		out.WriteString(line + "\r\n")
		if strings.HasPrefix(line, rtpmap) && !has {
			out.WriteString(fmtp + ask + "\r\n")
		}
	}
	return out.String()
}

// whipSession is one publisher. Its reading goroutines end when the connection closes.
type whipSession struct {
	*wish.Peer
	feed  *Feed
	video string // codec
	rid   string // of the one layer taken of a simulcast; empty: no simulcast
	log   *slog.Logger
	need  chan struct{} // a keyframe is wanted
	over  func(*whipSession)

	ctx    context.Context // of Target.Open; ends with Close
	cancel context.CancelFunc

	mu     sync.Mutex // guards closed, and wg against Add after Wait
	closed bool
	wg     sync.WaitGroup
}

// run starts a goroutine of the session unless it is closed.
func (s *whipSession) run(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.wg.Go(f)
	}
}

// Close ends the session and the stream.
func (s *whipSession) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	err := s.Peer.Close()
	s.wg.Wait()
	err = errors.Join(err, s.feed.Close())
	s.over(s)
	return err
}

func (s *whipSession) askKeyframe() {
	select {
	case s.need <- struct{}{}:
	default:
	}
}

// track reads one track: its packets, and its sender reports.
func (s *whipSession) track(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
	if s.rid != "" && t.RID() != s.rid {
		return // a layer that was declined
	}
	tr := &whipTrack{rate: int64(t.Codec().ClockRate)}
	s.run(func() { tr.reports(r) })
	if t.Kind() == webrtc.RTPCodecTypeAudio {
		s.run(func() { s.read(t, tr, s.feed.audioPacket) })
		return
	}
	s.run(func() { s.keyframes(uint32(t.SSRC())) })
	v := &videoPackets{feed: s.feed, frames: codec.NewFrames(s.video), lost: s.askKeyframe}
	s.run(func() { s.read(t, tr, v.packet) })
}

// read puts a track's packets in order and hands them on until the track ends.
func (s *whipSession) read(t *webrtc.TrackRemote, tr *whipTrack, put putFunc) {
	var order reorder
	for {
		p, _, err := t.ReadRTP()
		if err != nil {
			s.Finish()
			return
		}
		now := time.Now()
		for _, p := range order.push(p, now) {
			if len(p.Payload) == 0 {
				continue // padding only: a probe of the line
			}
			if err := put(s.ctx, tr.stamp(p.Timestamp, now), p); err != nil {
				if s.ctx.Err() == nil && !errors.Is(err, ErrFeedClosed) {
					s.log.Warn("publisher turned away", "err", err)
				}
				s.Finish()
				return
			}
		}
	}
}

// keyframes asks the publisher for keyframes: as often as is due, sooner when one is needed,
// and never twice within keyframeGap.
func (s *whipSession) keyframes(ssrc uint32) {
	gap := time.NewTimer(keyframeGap)
	defer gap.Stop()
	var last time.Time
	for {
		needed := time.Since(last) > keyframeEvery-keyframeGap/2 || s.feed.keyframeDue()
		select {
		case <-s.need:
			needed = true
		default:
		}
		if needed {
			last = time.Now()
			if err := s.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
				return
			}
		}
		gap.Reset(keyframeGap)
		select {
		case <-gap.C:
		case <-s.Done():
			return
		}
	}
}
