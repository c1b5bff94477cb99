package node

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/stream"
)

// JoinConfig says how to listen.
type JoinConfig struct {
	Room   *dht.Room
	Record string          // file to record into; a later stream gets a number before the extension
	Delay  time.Duration   // playout delay for browser, RTSP and recorder alike
	Hints  []peer.AddrInfo // bootstrap nodes for its ticket; none: the node's own
	Inside func()          // if set: called when the node is in the room
}

// Join listens in a room and passes on until ctx ends. A room without a live speaker
// is waited in.
func (n *Node) Join(ctx context.Context, c JoinConfig) error {
	r, err := onLoop(n, func() (*room, error) {
		r, err := n.enter(c.Room, "listener")
		if err != nil {
			return nil, err
		}
		r.listening, r.delay, r.record, r.hints = true, c.Delay, c.Record, c.Hints
		r.watch()
		return r, nil
	})
	if err != nil {
		return err
	}
	if c.Inside != nil {
		c.Inside()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-n.done:
		return ErrClosed
	case <-r.inside.Done():
		return context.Cause(r.inside)
	}
}

// watchFirstFrame notes when the first whole frame of this stream stood here. It reads
// headers only, and ends with the frame.
func (s *live) watchFirstFrame() {
	c := s.hist.Proven()
	s.task(func(ctx context.Context) func() {
		var f firstFrame
		buf := make([]stream.Packet, 64)
		for {
			k, err := c.Next(ctx, buf)
			if err != nil {
				return nil
			}
			for _, p := range buf[:k] {
				if f.add(p.Header) {
					return func() { s.join.firstFrame(s.room.n) }
				}
			}
		}
	})
}

// firstFrame recognises the first whole key frame in a run of headers: a key start and
// every number after it up to the marker.
type firstFrame struct {
	open  bool
	track stream.Track
	next  uint64
}

func (f *firstFrame) add(h stream.Header) bool {
	switch {
	case h.KeyStart:
		*f = firstFrame{open: true, track: h.Track, next: h.Number + 1}
	case !f.open || h.Track != f.track:
		return false
	case h.Number != f.next:
		f.open = false
		return false
	default:
		f.next++
	}
	return h.Marker
}
