package link

import (
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
)

// TestResumeOnBusyMachine: who has stood still for two seconds gets all that it lacks from its
// next parent, also where that lacks time: the packets are there, and late is better than lost.
func TestResumeOnBusyMachine(t *testing.T) {
	const way = 20 * time.Millisecond
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: way}, func(t *testing.T, n *vnet.Network) {
		src := newSpeaker(t)
		defer src.pub.Close()
		stop := src.talk(t)
		defer stop()
		parent, child := virtual(t, n, "1.2.3.1", vnet.HostConfig{}), virtual(t, n, "1.2.3.2", vnet.HostConfig{})
		down, up := pair(t, child, parent)
		down.Serve(src.h)
		far := src.far()
		up.Take(far)
		child.wait(up, Flowing)
		time.Sleep(3 * time.Second)
		up.Drop(far.ID())
		time.Sleep(2 * time.Second)
		before := video(far).Received
		parent.lateAt.Store(time.Now().UnixNano())
		up.Take(far)
		time.Sleep(8 * time.Second)
		got := video(far)
		if want := video(src.h).Next - got.Next; want > 30 || got.Lost > 0 || down.Stats().Skipped > 0 {
			t.Errorf("%+v, had %d; %d behind, %d skipped", got, before, want, down.Stats().Skipped)
		}
	})
}
