package rtsp

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtp"

	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/avc"
	"github.com/watergy/waterfall/stream/internal/codec"
)

// publisher is a session that sends us media.
type publisher struct {
	s    *Server
	path string
	feed *ingest.Feed

	video, audio       *description.Media // nil: none
	videoFmt, audioFmt format.Format
	codec              string
	frames             codec.Frames

	once sync.Once
}

func (h *handler) OnAnnounce(c *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	path := trim(c.Path)
	p := &publisher{s: h.server(), path: path}
	if err := p.choose(c.Description); err != nil {
		return h.refuse(base.StatusUnsupportedMediaType, "publisher", path, err), nil
	}
	t, err := h.cfg.Target(path)
	if err != nil {
		return h.refuse(base.StatusNotFound, "publisher", path, err), nil
	}
	if p.feed, err = ingest.NewFeed(t, p.codec, p.fmtp(), p.audio != nil, h.cfg.Log); err != nil {
		return h.refuse(base.StatusUnsupportedMediaType, "publisher", path, err), nil
	}
	if !h.server().claim(p) {
		err := errors.New("somebody is publishing here already (hint: end that first)")
		return h.refuse(base.StatusForbidden, "publisher", path, err), nil
	}
	c.Session.SetUserData(p)
	return done(), nil
}

// claim makes p the publisher of its path, unless there is one.
func (s *Server) claim(p *publisher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publishers[p.path] != nil {
		return false
	}
	s.publishers[p.path] = p
	return true
}

// choose finds the tracks to take, and refuses what cannot pass over WebRTC.
func (p *publisher) choose(d *description.Session) error {
	for _, m := range d.Medias {
		for _, f := range m.Formats {
			var err error
			switch f := f.(type) {
			case *format.H264, *format.VP8, *format.VP9, *format.AV1:
				if p.video != nil {
					err = errors.New("two video tracks (hint: ffmpeg -map 0:v:0)")
				}
				p.video, p.videoFmt, p.codec = m, f, f.Codec()
				if _, ok := f.(*format.H264); ok {
					p.codec = codec.H264
				}
				p.frames = codec.NewFrames(p.codec)
			case *format.Opus:
				if p.audio != nil {
					err = errors.New("two audio tracks (hint: ffmpeg -map 0:a:0)")
				} else if f.ChannelCount > 2 {
					err = fmt.Errorf("%d channels of sound (hint: ffmpeg -ac 2)", f.ChannelCount)
				}
				p.audio, p.audioFmt = m, f
			case *format.MPEG4Audio, *format.MPEG4AudioLATM:
				err = errors.New("AAC does not pass over WebRTC (hint: ffmpeg -c:a libopus; OBS: publish by WHIP, which is Opus)")
			case *format.H265:
				err = errors.New("H.265 (HEVC) does not play in most browsers, so it does not pass here (hint: ffmpeg -c:v libx264 -bf 0)")
			default:
				err = fmt.Errorf("%s %s does not pass here (hint: ffmpeg -c:v libx264 -bf 0 -c:a libopus)", f.Codec(), m.Type)
			}
			if err != nil {
				return fmt.Errorf("%w: %w", ingest.ErrRefused, err)
			}
		}
	}
	return nil
}

// fmtp is the video's parameters as far as the announcement has them.
func (p *publisher) fmtp() string {
	if f, ok := p.videoFmt.(*format.H264); ok {
		return avc.Params{SPS: f.SPS, PPS: f.PPS}.Fmtp()
	}
	return ""
}

func (h *handler) OnRecord(c *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	p, isPublisher := c.Session.UserData().(*publisher)
	if !isPublisher {
		return &base.Response{StatusCode: base.StatusMethodNotValidInThisState}, nil
	}
	if p.video != nil {
		c.Session.OnPacketRTP(p.video, p.videoFmt, func(pkt *rtp.Packet) { p.videoPacket(c.Session, pkt) })
	}
	if p.audio != nil {
		c.Session.OnPacketRTP(p.audio, p.audioFmt, func(pkt *rtp.Packet) {
			p.check(c.Session, p.feed.Audio(p.s.ctx, stamp(c.Session, p.audio, pkt), pkt.Payload))
		})
	}
	return done(), nil
}

func (p *publisher) videoPacket(ss *gortsplib.ServerSession, pkt *rtp.Packet) {
	s := stamp(ss, p.video, pkt)
	frame, t, err := p.frames.Push(pkt)
	if err != nil || frame == nil {
		return // a frame lost on its way, or not complete yet
	}
	if !s.NTP.IsZero() {
		s.NTP = s.NTP.Add(time.Duration(int32(t-s.RTP)) * time.Second / time.Duration(p.videoFmt.ClockRate()))
	}
	s.RTP = t
	p.check(ss, p.feed.Video(p.s.ctx, s, frame))
}

func stamp(ss *gortsplib.ServerSession, m *description.Media, pkt *rtp.Packet) ingest.Stamp {
	s := ingest.Stamp{RTP: pkt.Timestamp, At: time.Now()}
	if ntp, ok := ss.PacketNTP(m, pkt); ok {
		s.NTP = ntp
	}
	return s
}

// check ends the session of a publisher whose media cannot be taken.
func (p *publisher) check(ss *gortsplib.ServerSession, err error) {
	if err == nil {
		return
	}
	if !errors.Is(err, ingest.ErrFeedClosed) {
		p.once.Do(func() { p.s.cfg.Log.Warn("publisher turned away", "path", p.path, "err", err) })
	}
	ss.Close()
}

func (p *publisher) close() error {
	p.s.mu.Lock()
	if p.s.publishers[p.path] == p {
		delete(p.s.publishers, p.path)
	}
	p.s.mu.Unlock()
	return p.feed.Close()
}
