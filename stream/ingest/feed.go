package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/avc"
	"github.com/watergy/waterfall/stream/internal/codec"
)

// Feed brings one publisher's tracks into a Target: it opens the stream at the first
// keyframe (at the first sound if there is no video), cuts frames into payloads that
// fit, and refuses what cannot pass. Its methods may be called from several goroutines.
type Feed struct {
	target Target
	log    *slog.Logger
	audio  bool

	mu     sync.Mutex  // guards what follows
	video  codec.Video // nil: none
	order  avc.Order
	line   timeline
	pub    *stream.Publisher
	closed bool
}

// ErrFeedClosed is the error of writing to a closed Feed.
var ErrFeedClosed = errors.New("the input is closed")

// NewFeed announces the tracks to come. video is the name of the video's codec, empty if
// there is none, and fmtp its SDP format parameters; parameter sets in them
// (sprop-parameter-sets) are used until the stream brings its own.
func NewFeed(t Target, video, fmtp string, audio bool, log *slog.Logger) (*Feed, error) {
	f := &Feed{target: t, log: log, audio: audio}
	if video == "" {
		return f, nil
	}
	v, err := codec.New(video, fmtp)
	if err == nil {
		_, _, _, err = v.Normalize(nil) // what is known already may be refused
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	f.video = v
	return f, nil
}

// Video takes one frame: NAL units without start codes (H.264), OBUs (AV1), or the one
// frame (VP8, VP9). An error of ErrRefused says what the publisher has to change; after
// any error the input should end.
func (f *Feed) Video(ctx context.Context, s Stamp, frame [][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return ErrFeedClosed
	case f.video == nil:
		return nil
	}
	before := f.video.Fmtp()
	frame, key, ok, err := f.video.Normalize(frame)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if !ok {
		return nil
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
	case f.video.Fmtp() != before:
		if err := f.pub.SetTracks(f.catalog()); err != nil {
			return err
		}
	}
	payloads, err := f.video.Pack(frame, stream.MaxPayload)
	if err != nil {
		return err
	}
	for i, p := range payloads {
		if err := f.pub.Write(VideoTrack, t, i == len(payloads)-1, key && i == 0, p); err != nil {
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
		if f.video != nil {
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

// keyframeDue says that a listener wants a keyframe.
func (f *Feed) keyframeDue() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pub != nil && f.pub.KeyframeDue(time.Now())
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
	if f.video != nil {
		c.Tracks = append(c.Tracks, stream.TrackInfo{
			Track: VideoTrack, Kind: "video", Codec: f.video.Codec(), ClockRate: videoRate, Fmtp: f.video.Fmtp(),
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
