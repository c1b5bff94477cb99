// Package ingest turns what people publish with into numbered packets: the built-in
// test clip, WHIP (browser, OBS) and, with stream/rtsp, RTSP (ffmpeg, GStreamer). It
// refuses what cannot pass over WebRTC with a line that says what to change.
//
// Whatever the input, a stream's tracks share one line of time: the RTP times of all
// tracks, divided by their clock rates, count from the same instant. Outputs keep sound
// and picture together by that alone.
package ingest

import (
	"context"
	"errors"

	"github.com/watergy/waterfall/stream"
)

// ErrRefused wraps every refusal of media that cannot pass (B-frames, AAC, unknown codec).
var ErrRefused = errors.New("refused")

// Target is where an input writes: opened when media starts, so that a stream's tree
// is made only then.
type Target interface {
	// Open begins the stream (or fails: not allowed to speak, already live).
	Open(ctx context.Context, c stream.Catalog) (*stream.Publisher, error)
	// Closed says that the publisher given out has ended.
	Closed(p *stream.Publisher)
}

// Numbers of the tracks that inputs make.
const (
	VideoTrack stream.Track = 1
	AudioTrack stream.Track = 2
)
