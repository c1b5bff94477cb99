// Package ingest turns what people publish with into numbered packets: the built-in
// test clip, WHIP (browser, OBS) and RTSP (ffmpeg, GStreamer). It refuses what cannot
// pass over WebRTC with a line that says what to change.
package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/pion/transport/v4"

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

// TestClip plays the embedded clip (a running clock and a beep) in a loop until ctx ends.
func TestClip(ctx context.Context, t Target, log *slog.Logger) error { panic("skeleton") }

// WHIPConfig for NewWHIP.
type WHIPConfig struct {
	Net transport.Net
	Log *slog.Logger
}

// WHIP serves RFC 9725 for one target: POST on its path, PATCH and DELETE below it.
type WHIP struct{}

func NewWHIP(t Target, base string, cfg WHIPConfig) (*WHIP, error) { panic("skeleton") }
func (w *WHIP) ServeHTTP(rw http.ResponseWriter, r *http.Request)  { panic("skeleton") }
func (w *WHIP) Close() error                                       { panic("skeleton") }

// Need asks the browser or encoder for a keyframe (at most one a second is sent).
func (w *WHIP) NeedKeyframe() { panic("skeleton") }
