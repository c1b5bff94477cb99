package vnettest

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// A relay right below the speaker begins to change packets: its children leave it, it is
// not taken again, nobody blames anybody else, and nobody misses anything.
func TestForgingNode(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 3, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		const bad = 2 // the first to come: it stands in layer 1
		var forging atomic.Bool
		c := newCrowd(t, n, crowdConfig{log: slog.LevelWarn, tap: func(i int, h *stream.History) {
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
		for range 15 { // nor does anybody come back
			time.Sleep(time.Second)
			c.eventually(0, honest, apart)
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
			if !slices.Contains(children, m) && s.Switches > 0 {
				t.Errorf("%s left an honest parent", m.name)
			}
		}
		if forged == 0 {
			t.Error("no status document speaks of forgery")
		}
	})
}
