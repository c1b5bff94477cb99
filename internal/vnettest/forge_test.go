package vnettest

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// A relay right below the speaker begins to change packets: its children leave it and do
// not take it again, nobody blames anybody else, and nobody misses anything. Others, who
// know nothing of it, may still try it once.
func TestForgingNode(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 3, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		const bad = 2 // the first to come: it stands in layer 1
		var forging atomic.Bool
		var said blames
		c := newCrowd(t, n, crowdConfig{log: slog.LevelWarn, blames: &said, tap: func(i int, h *stream.History) {
			if i != bad {
				return
			}
			h.Forge(func(p stream.Packet) stream.Packet {
				if forging.Load() && p.Track != stream.ManifestTrack && p.Number%10 == 0 {
					p.Wire = slices.Clone(p.Wire)
					p.Wire[len(p.Wire)-1] ^= 1
				}
				return p
			})
		}})
		for i := range 16 {
			c.join(2+i, vnet.HostConfig{})
			time.Sleep(100 * time.Millisecond)
		}
		c.eventually(10*time.Second, c.listeners, flowing(nil))
		time.Sleep(5 * time.Second)
		forger := c.listeners[0]
		children, honest := c.below(forger), slices.Clone(c.listeners[1:])
		if len(children) == 0 {
			t.Fatal("nobody hangs below the forger")
		}
		var fed []*member
		for _, m := range children {
			if s, ok := m.stream(); ok && s.Parent != nil && *s.Parent == forger.ID().String() {
				fed = append(fed, m)
			}
		}
		before := make(map[*member]map[string]uint64)
		for _, m := range honest {
			before[m] = missing(m)
		}
		apart := func(m *member) string {
			if s, ok := m.stream(); !ok || s.Parent == nil || slices.Contains(s.Path, forger.ID().String()) {
				return "is still below the forger"
			}
			return ""
		}

		forging.Store(true)
		t.Logf("%d nodes off the forger after %v", len(children), c.eventually(3*time.Second, children, apart))
		for range 15 { // and none of those it fed takes it again
			time.Sleep(time.Second)
			c.eventually(0, fed, func(m *member) string {
				if s, _ := m.stream(); s.Parent != nil && *s.Parent == forger.ID().String() {
					return "takes from the forger again"
				}
				return ""
			})
		}
		c.eventually(time.Second, honest, flowing(c.counts()))
		c.eventually(time.Second, honest, whole(before))
		var forged uint64
		for _, m := range honest {
			s, _ := m.stream()
			for _, k := range s.Tracks {
				forged += k.Forged
				if k.Lost > 0 {
					t.Errorf("%s lost %d packets of %s", m.name, k.Lost, k.ID)
				}
			}
		}
		for _, who := range said.all() {
			if who != forger.ID().String() {
				t.Errorf("the honest %s is blamed", who)
			}
		}
		if forged == 0 {
			t.Error("no status document speaks of forgery")
		}
	})
}

// blames collects whom the nodes' logs name as forgers.
type blames struct {
	mu  sync.Mutex
	who []string
}

func (b *blames) listen(h slog.Handler) slog.Handler { return blameHandler{h, b} }

func (b *blames) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.who)
}

type blameHandler struct {
	slog.Handler
	b *blames
}

func (h blameHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "a relay is left for good" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "peer" {
				h.b.mu.Lock()
				defer h.b.mu.Unlock()
				h.b.who = append(h.b.who, a.Value.String())
			}
			return true
		})
	}
	return h.Handler.Handle(ctx, r)
}

func (h blameHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return blameHandler{h.Handler.WithAttrs(as), h.b}
}

func (h blameHandler) WithGroup(name string) slog.Handler {
	return blameHandler{h.Handler.WithGroup(name), h.b}
}
