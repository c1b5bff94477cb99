// Package playback gives a stream to people's programs: WHEP for browsers, RTSP for
// players, and a recorder.
package playback

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pion/transport/v4"

	"github.com/watergy/waterfall/stream"
)

// Source is a stream that can be played; node gives them out.
type Source struct {
	History *stream.History
	Sealer  *stream.Sealer
	Delay   time.Duration
}

// WHEPConfig for NewWHEP.
type WHEPConfig struct {
	Net transport.Net
	Log *slog.Logger
	// OnFirstFrame is called when the first video frame (or first audio packet of an
	// audio-only stream) has been handed to a player.
}

// WHEP serves the WHEP draft: POST at the path it is mounted at, PATCH and DELETE below.
// pick finds the stream that the request asks for.
type WHEP struct{}

func NewWHEP(base string, pick func(r *http.Request) (Source, error), cfg WHEPConfig) (*WHEP, error) {
	panic("skeleton")
}
func (w *WHEP) ServeHTTP(rw http.ResponseWriter, r *http.Request) { panic("skeleton") }
func (w *WHEP) Close() error                                      { panic("skeleton") }

// Record writes src to path (.mkv or .webm) until ctx ends or the stream does; the file
// is playable to the last packet whenever the process dies.
func Record(ctx context.Context, path string, src Source, log *slog.Logger) error { panic("skeleton") }

var _ net.Listener
