package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph264"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/avc"
)

// Feed brings one publisher's tracks into a Target: it opens the stream at the first
// keyframe (at the first sound if there is no video), cuts frames into payloads that
// fit, and refuses what cannot pass. Its methods may be called from several goroutines.
type Feed struct {
	target       Target
	log          *slog.Logger
	video, audio bool

	mu     sync.Mutex // guards what follows
	params avc.Params
	order  avc.Order
	line   timeline
	enc    *rtph264.Encoder
	pub    *stream.Publisher
	closed bool
}

// ErrFeedClosed is the error of writing to a closed Feed.
var ErrFeedClosed = errors.New("the input is closed")

// NewFeed announces the tracks to come. fmtp is the video's SDP format parameters; sets
// in it (sprop-parameter-sets) are used until the stream brings its own.
func NewFeed(t Target, video, audio bool, fmtp string, log *slog.Logger) (*Feed, error) {
	enc := &rtph264.Encoder{PayloadMaxSize: stream.MaxPayload, PacketizationMode: 1}
	if err := enc.Init(); err != nil {
		return nil, err
	}
	f := &Feed{target: t, log: log, video: video, audio: audio, enc: enc, params: avc.ParseFmtp(fmtp)}
	if len(f.params.SPS) > 0 {
		if err := checkSPS(f.params.SPS); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func checkSPS(sps []byte) error {
	_, err := avc.CheckSPS(sps)
	if errors.Is(err, avc.ErrReordered) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil // an unreadable set is the decoders' business
}

// Video takes one frame: its NAL units without start codes. An error of ErrRefused says
// what the publisher has to change; after any error the input should end.
func (f *Feed) Video(ctx context.Context, s Stamp, au [][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrFeedClosed
	}
	before := f.params
	au, key, ok := f.params.Normalize(au)
	if !ok {
		return nil
	}
	changed := !bytes.Equal(before.SPS, f.params.SPS) || !bytes.Equal(before.PPS, f.params.PPS)
	if changed {
		if err := checkSPS(f.params.SPS); err != nil {
			return err
		}
	}
	if err := f.order.Check(s.RTP); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	t := f.line.forVideo(s)
	switch {
	case f.pub == nil && !key:
		return nil
	case f.pub == nil:
		if err := f.open(ctx); err != nil {
			return err
		}
	case changed:
		if err := f.pub.SetTracks(f.catalog()); err != nil {
			return err
		}
	}
	pkts, err := f.enc.Encode(au)
	if err != nil {
		return fmt.Errorf("cut a frame into packets: %w", err)
	}
	for i, p := range pkts {
		if err := f.pub.Write(VideoTrack, t, i == len(pkts)-1, key && i == 0, p.Payload); err != nil {
			return err
		}
	}
	return nil
}

// Audio takes one Opus packet.
func (f *Feed) Audio(ctx context.Context, s Stamp, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrFeedClosed
	}
	t := f.line.forAudio(s)
	if f.pub == nil {
		if f.video {
			return nil // begins with the first keyframe
		}
		if err := f.open(ctx); err != nil {
			return err
		}
	}
	if len(payload) == 0 || len(payload) > stream.MaxPayload {
		return nil // RFC 6716 allows 1,275 bytes; nobody's encoder makes them for live sound
	}
	return f.pub.Write(AudioTrack, t, true, false, payload)
}

func (f *Feed) open(ctx context.Context) error {
	pub, err := f.target.Open(ctx, f.catalog())
	if err != nil {
		return fmt.Errorf("open the stream: %w", err)
	}
	f.pub, f.line.settled = pub, true
	return nil
}

func (f *Feed) catalog() stream.Catalog {
	var c stream.Catalog
	if f.video {
		c.Tracks = append(c.Tracks, stream.TrackInfo{
			Track: VideoTrack, Kind: "video", Codec: "H264", ClockRate: videoRate, Fmtp: f.params.Fmtp(),
		})
	}
	if f.audio {
		c.Tracks = append(c.Tracks, stream.TrackInfo{
			Track: AudioTrack, Kind: "audio", Codec: "opus", ClockRate: audioRate, Channels: 2,
			Fmtp: "minptime=10;useinbandfec=1;sprop-stereo=1",
		})
	}
	return c
}

// Close ends the stream if it was opened.
func (f *Feed) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.pub == nil {
		return nil
	}
	err := f.pub.Close()
	f.target.Closed(f.pub)
	return err
}
