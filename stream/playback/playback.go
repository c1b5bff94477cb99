// Package playback gives a stream to people's programs: WHEP for browsers and a
// recorder; with stream/rtsp, RTSP for players.
package playback

import (
	"errors"
	"time"

	"github.com/watergy/waterfall/stream"
)

// Source is a stream that can be played; node gives them out.
type Source struct {
	History *stream.History
	Sealer  *stream.Sealer
	Delay   time.Duration // playout delay
}

// Player opens the source for one consumer. Close it.
func (s Source) Player() *stream.Player {
	return stream.NewPlayer(s.History, s.Sealer, stream.PlayerConfig{Delay: s.Delay})
}

// ErrNotLive says that the stream asked for may come, but is not there yet: a player is
// told to try again soon. Any other error of picking a Source means that there is none.
var ErrNotLive = errors.New("nobody is live here yet (hint: wait, or start the speaker)")

// StartWait is how long a player that asks for a stream is kept waiting for the
// stream's first packet before it is told ErrNotLive.
const StartWait = 2 * time.Second

// RetryAfter is when a player that was told ErrNotLive should ask again.
const RetryAfter = 2 * time.Second
