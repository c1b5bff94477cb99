package dht

import (
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
)

const (
	relayLinger = 2 * time.Minute // after the last subscriber
	relaySweep  = 15 * time.Second
)

// relayed is a topic that we pass on for others.
type relayed struct {
	stop pubsub.RelayCancelFunc
	seen time.Time // when it had a subscriber last
}

// relay passes on the topics that our peers subscribe to, until Close. A volunteer
// reads none of them: they are sealed, and it knows no room.
func (h *Host) relay() {
	topics := map[string]*relayed{}
	tick := time.NewTicker(relaySweep)
	defer tick.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return // gossipsub ends with the same context
		case name := <-h.book.learn:
			if r := topics[name]; r != nil {
				r.seen = time.Now()
				continue
			}
			if len(topics) >= maxTopics {
				h.dropped.Add(1)
				continue
			}
			t, err := h.join(name)
			if err != nil {
				h.log.Warn("a topic is not relayed", "err", err)
				continue
			}
			stop, err := t.Relay()
			if err != nil {
				h.release(name)
				h.log.Warn("a topic is not relayed", "err", err)
				continue
			}
			topics[name] = &relayed{stop, time.Now()}
		case now := <-tick.C:
			wanted := h.book.wanted()
			for name, r := range topics {
				if wanted[name] {
					r.seen = now
				} else if now.Sub(r.seen) > relayLinger {
					r.stop()
					h.release(name)
					delete(topics, name)
				}
			}
		}
	}
}

// resetStream answers the protocol that only marks volunteers.
func resetStream(s network.Stream) { _ = s.Reset() }
