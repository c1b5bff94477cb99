package vnettest

import (
	"flag"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/tree"
)

var (
	nodes = flag.Int("nodes", 30, "nodes in TestRoom: a volunteer, a speaker, the rest listeners")
	seed  = flag.Uint64("seed", 1, "of packet loss in TestRoom")
	loss  = flag.Float64("loss", 0, "share of packets lost on every line in TestRoom")
)

// A room of 30 nodes at 25 ms one way, whose listeners arrive over 3 s. Then a relay right
// below the speaker crashes.
func TestRoom(t *testing.T) {
	wall0, cpu0 := vnet.Clock()
	vnet.Run(t, vnet.Config{Seed: *seed, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		line := vnet.HostConfig{Loss: *loss}
		c := newCrowd(t, n, crowdConfig{log: slog.LevelWarn})
		start := time.Now()
		listeners := *nodes - 2
		for i := range listeners {
			c.join(2+i, line)
			time.Sleep(3 * time.Second / time.Duration(listeners))
		}
		c.eventually(10*time.Second, c.listeners, flowing(nil))
		t.Logf("all live %v after the first came", time.Since(start).Round(time.Millisecond))

		time.Sleep(10 * time.Second)
		// DESIGN 4: depth ≤ ceil(log_slots N) + 1, N counting the speaker.
		deepest := int(math.Ceil(math.Log(float64(listeners+1))/math.Log(tree.DefaultSlots))) + 1
		t.Logf("members by layer: %v", c.checkTree(deepest))

		victim := c.busiest(1)
		orphans := c.below(victim)
		if len(orphans) == 0 {
			t.Fatal("nobody hangs below layer 1")
		}
		before := make(map[*member]map[string]uint64)
		for _, m := range c.listeners {
			before[m] = missing(m)
		}
		c.crash(victim)
		// What was on the way when the relay crashed still arrives.
		const inFlight = 100 * time.Millisecond
		time.Sleep(inFlight)
		took := c.eventually(1500*time.Millisecond-inFlight, orphans, flowing(c.counts()))
		t.Logf("%d orphans live again %v after the crash", len(orphans), took+inFlight)

		time.Sleep(10 * time.Second)
		c.eventually(time.Second, c.listeners, flowing(c.counts()))
		c.eventually(time.Second, c.listeners, whole(before))
		t.Logf("members by layer: %v", c.checkTree(deepest))
		if sub := c.below(victim); len(sub) > 0 {
			t.Errorf("%d nodes still count on the dead one", len(sub))
		}
		t.Logf("%+v", n.Stats())
	})
	wall, cpu := vnet.Clock()
	t.Logf("%v wall, %v CPU", wall-wall0, cpu-cpu0)
}
