package rtsp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/avc"
	"github.com/watergy/waterfall/stream/internal/codec"
	"github.com/watergy/waterfall/stream/internal/mediatime"
	"github.com/watergy/waterfall/stream/playback"
)

// reportEvery is how often a track's clock is told to the player (RFC 3550, section 6.4.1).
const reportEvery = time.Second

// reader is a session that reads a stream: its own player and one goroutine that sends
// what is due. A session's packets go into its own queue, so a stalled reader loses
// packets of its own only.
type reader struct {
	s      *Server
	path   string
	query  string
	src    playback.Source
	stream *gortsplib.ServerStream // describes the tracks; carries no packets
	tracks map[stream.Track]*track

	cancel context.CancelFunc // nil before PLAY
	wg     sync.WaitGroup
}

// track is one track on its way to the reader. The sending goroutine owns it.
type track struct {
	media    *description.Media
	format   format.Format
	rate     uint32
	video    bool
	ssrc     uint32
	started  bool
	waitKey  bool   // the reader's queue was full: nothing until the next group
	base     uint64 // origin number of the packet with sequence number 0
	packets  uint32
	octets   uint32
	reported time.Time
}

func (h *handler) OnDescribe(c *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	r, refused := h.find(c.Path, c.Query)
	if refused != nil {
		return refused, nil, nil
	}
	c.Conn.SetUserData(r) // SETUP uses what was described
	return done(), r.stream, nil
}

func (h *handler) OnSetup(c *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	switch u := c.Session.UserData().(type) {
	case *publisher:
		return done(), nil, nil
	case *reader:
		return done(), u.stream, nil
	}
	r, described := c.Conn.UserData().(*reader)
	if !described || r.path != trim(c.Path) || r.query != c.Query || r.cancel != nil {
		var refused *base.Response
		if r, refused = h.find(c.Path, c.Query); refused != nil {
			return refused, nil, nil
		}
	}
	if err := h.cfg.Seats.Take(); err != nil {
		return h.refuse(base.StatusServiceUnavailable, "reader", r.path, err), nil, nil
	}
	c.Conn.SetUserData(nil)
	c.Session.SetUserData(r)
	return done(), r.stream, nil
}

// find picks the stream that a path asks for.
func (h *handler) find(path, query string) (*reader, *base.Response) {
	path = trim(path)
	src, err := h.cfg.Pick(path, query)
	var catalog stream.Catalog
	if err == nil {
		catalog, err = src.Catalog(h.ctx)
	}
	var r *reader
	if err == nil {
		r, err = h.server().newReader(path, query, src, catalog)
	}
	if err != nil {
		return nil, h.refuse(base.StatusNotFound, "reader", path, err)
	}
	return r, nil
}

func (s *Server) newReader(path, query string, src playback.Source, c stream.Catalog) (*reader, error) {
	r := &reader{s: s, path: path, query: query, src: src, tracks: map[stream.Track]*track{}}
	desc := &description.Session{Title: "Waterfall"}
	for i, t := range c.Tracks {
		tr := &track{rate: t.ClockRate, video: t.Kind == "video"}
		pt := uint8(96 + i)
		kind := description.MediaTypeVideo
		if !tr.video {
			kind = description.MediaTypeAudio
		}
		if tr.format = carried(t, pt); tr.format == nil {
			continue // a codec of a newer version: the rest plays
		}
		tr.media = &description.Media{Type: kind, Formats: []format.Format{tr.format}}
		desc.Medias = append(desc.Medias, tr.media)
		r.tracks[t.Track] = tr
	}
	if len(desc.Medias) == 0 {
		return nil, errors.New("the stream has no track that RTSP can carry")
	}
	r.stream = &gortsplib.ServerStream{Server: s.srv, Desc: desc}
	if err := r.stream.Initialize(); err != nil {
		return nil, fmt.Errorf("describe the stream: %w", err)
	}
	return r, nil
}

// carried is a track's codec as RTSP describes it, nil if it cannot.
func carried(t stream.TrackInfo, pt uint8) format.Format {
	param := func(key string) *int {
		n, err := strconv.Atoi(avc.Param(t.Fmtp, key))
		if err != nil {
			return nil
		}
		return &n
	}
	switch strings.ToUpper(t.Codec) {
	case codec.H264:
		p := avc.ParseFmtp(t.Fmtp)
		return &format.H264{PayloadTyp: pt, PacketizationMode: 1, SPS: p.SPS, PPS: p.PPS}
	case codec.VP8:
		return &format.VP8{PayloadTyp: pt}
	case codec.VP9:
		return &format.VP9{PayloadTyp: pt, ProfileID: param("profile-id")}
	case codec.AV1:
		return &format.AV1{PayloadTyp: pt, Profile: param("profile"), LevelIdx: param("level-idx"), Tier: param("tier")}
	case "OPUS":
		return &format.Opus{PayloadTyp: pt, ChannelCount: 2}
	}
	return nil
}

func (h *handler) OnPlay(c *gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	r, isReader := c.Session.UserData().(*reader)
	if !isReader {
		return &base.Response{StatusCode: base.StatusMethodNotValidInThisState}, nil
	}
	if r.cancel == nil { // else it goes on after PAUSE
		r.start(c.Session)
	}
	return done(), nil
}

func (h *handler) OnPause(*gortsplib.ServerHandlerOnPauseCtx) (*base.Response, error) {
	return done(), nil // a paused session's packets go nowhere; it comes back live
}

// start sends the stream from its last group on. gortsplib keeps what is written
// until the answer to PLAY is out.
func (r *reader) start(ss *gortsplib.ServerSession) {
	setup := map[*description.Media]bool{}
	for _, m := range ss.Medias() {
		setup[m] = true
	}
	stats := ss.Stats()
	for n, t := range r.tracks {
		if !setup[t.media] {
			delete(r.tracks, n)
			continue
		}
		t.ssrc = stats.Medias[t.media].Formats[t.format].LocalSSRC
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.wg.Go(func() {
		defer ss.Close()
		if err := r.send(ctx, ss); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
			r.s.cfg.Log.Warn("reader lost", "path", r.path, "err", err)
		}
	})
}

func (r *reader) send(ctx context.Context, ss *gortsplib.ServerSession) error {
	player := r.src.Player()
	defer player.Close()
	var clock mediatime.Clock
	for {
		samples, err := player.Next(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, s := range samples {
			t := r.tracks[s.Track]
			if t == nil {
				continue
			}
			wall := clock.Wall(s.Track, t.rate, s.Time, s.At, now)
			if now.Sub(t.reported) >= reportEvery {
				// The first goes out before the first packet: players begin in sync.
				t.reported = now
				_ = ss.WritePacketRTCP(t.media, t.report(s.Time, wall)) // full queue: a second later
			}
			t.send(ss, s, wall)
		}
	}
}

// send queues one packet. Of a video that does not fit, whole groups are left out.
func (t *track) send(ss *gortsplib.ServerSession, s stream.Sample, wall time.Time) {
	if !t.started {
		t.started, t.base = true, s.Number
	}
	if t.waitKey && !s.KeyStart {
		return
	}
	err := ss.WritePacketRTPWithNTP(t.media, &rtp.Packet{
		Header: rtp.Header{
			Version: 2, Marker: s.Marker, PayloadType: t.format.PayloadType(),
			SequenceNumber: uint16(s.Number - t.base), Timestamp: s.Time,
		},
		Payload: s.Payload,
	}, wall)
	t.waitKey = err != nil && t.video
	if err == nil {
		t.packets++
		t.octets += uint32(len(s.Payload))
	}
}

func (t *track) report(rtpTime uint32, wall time.Time) *rtcp.SenderReport {
	return &rtcp.SenderReport{
		SSRC: t.ssrc, NTPTime: mediatime.NTP(wall), RTPTime: rtpTime,
		PacketCount: t.packets, OctetCount: t.octets,
	}
}

func (r *reader) close() error {
	if r.cancel != nil {
		r.cancel()
		r.wg.Wait()
	}
	r.stream.Close()
	r.s.cfg.Seats.Leave()
	return nil
}
