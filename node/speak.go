package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
)

// SpeakConfig says what to publish.
type SpeakConfig struct {
	Room   *dht.Room
	Input  string          // "test", "whip" (by the console) or "rtsp" (by ServeRTSP's listener)
	Hints  []peer.AddrInfo // bootstrap nodes for its ticket; none: the node's own
	Inside func()          // if set: called when the node is in the room
	// Feed, if set, is the input instead: what it returns with, Speak returns with.
	Feed func(ctx context.Context, to ingest.Target) error
}

// Speak publishes into a room until ctx ends or the input fails.
func (n *Node) Speak(ctx context.Context, c SpeakConfig) error {
	if !c.Room.MaySpeak(n.ID()) {
		return errMayNotSpeak
	}
	r, err := onLoop(n, func() (*room, error) {
		r, err := n.enter(c.Room, "speaker")
		if err != nil {
			return nil, err
		}
		r.speaking, r.hints = c.Input, c.Hints
		r.listening = r.room.ManySpeak() // to the others
		r.watch()
		return r, nil
	})
	if err != nil {
		return err
	}
	if c.Inside != nil {
		c.Inside()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.inside, cancel)()
	err = r.feed(ctx, c)
	if r.inside.Err() != nil && n.ctx.Err() == nil {
		return context.Cause(r.inside)
	}
	return err
}

// feed runs the input.
func (r *room) feed(ctx context.Context, c SpeakConfig) error {
	if c.Feed != nil {
		return c.Feed(ctx, r.target())
	}
	switch c.Input {
	case "test":
		return ingest.TestClip(ctx, r.target(), r.log.With("part", "clip"))
	case "whip", "rtsp":
		<-ctx.Done()
		return nil
	}
	return fmt.Errorf("unknown input %q (hint: test, whip or rtsp)", c.Input)
}

// target is where an input of this room writes.
func (r *room) target() ingest.Target { return target{r} }

type target struct{ r *room }

var errLive = errors.New("this node is already live in this room (hint: stop the other input first)")

// Open makes a new stream with this node as its root.
func (t target) Open(_ context.Context, c stream.Catalog) (*stream.Publisher, error) {
	key, err := signingKey(t.r.n.cfg.Key)
	if err != nil {
		return nil, err
	}
	return onLoop(t.r.n, func() (*stream.Publisher, error) {
		if t.r.leaving {
			return nil, ErrLeft
		}
		for _, s := range t.r.streams {
			if s.root() && !s.ended {
				return nil, errLive
			}
		}
		s, err := t.r.add(t.r.n.newStreamID(), t.r.n.ID(), true)
		if err != nil {
			return nil, err
		}
		s.pub = stream.NewPublisher(s.hist, s.sealer)
		s.pub.Sign(key)
		if err := s.pub.SetTracks(c); err != nil {
			t.r.drop(s)
			return nil, err
		}
		s.watchFirstFrame()
		t.r.log.Info("live", "stream", s.name())
		return s.pub, nil
	})
}

// Closed tells everybody that the stream is over.
func (t target) Closed(p *stream.Publisher) {
	t.r.n.do(func() {
		for _, s := range t.r.streams {
			if s.pub == p {
				s.finish("the input has ended")
			}
		}
	})
}
