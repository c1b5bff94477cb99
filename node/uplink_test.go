package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/watergy/waterfall/tree"
)

// uplinkRun feeds an uplink one second after another.
type uplinkRun struct {
	u    uplink
	now  time.Time
	kids []figures
	up   figures
}

func newRun(slots, kids int) *uplinkRun {
	r := &uplinkRun{u: newUplink(slots), now: time.Unix(1000, 0), up: figures{node: "parent"}}
	for i := range kids {
		r.kids = append(r.kids, figures{node: tree.NodeID(fmt.Sprint("kid", i)), rtt: 40 * time.Millisecond})
	}
	return r
}

// second lets one pass: every link carries 100 packets, of which loss[i] percent are sent
// again (the last: those of the parent), and reports poor links.
func (r *uplinkRun) second(scarce bool, loss ...int) tree.NodeID {
	r.now = r.now.Add(time.Second)
	for i := range r.kids {
		r.kids[i].sent += 100
		if i < len(loss) {
			r.kids[i].again += uint64(loss[i])
		}
	}
	r.up.sent += 100
	if len(loss) > len(r.kids) {
		r.up.again += uint64(loss[len(r.kids)])
	}
	return r.u.step(r.now, r.kids, r.up, scarce)
}

func TestBudget(t *testing.T) {
	r := newRun(0, 4)
	for range 60 {
		r.second(false)
	}
	if r.u.slots != tree.DefaultSlots {
		t.Errorf("%d slots though the tree has room", r.u.slots)
	}
	for range 21 {
		r.second(true)
	}
	if r.u.slots != 5 {
		t.Errorf("%d slots after 20 calm seconds in a full tree, want 5", r.u.slots)
	}
	r.kids[0].rtt = time.Second
	for range 10 {
		r.second(true)
	}
	if r.u.slots != 5 {
		t.Errorf("%d slots: one child's own line is no reason", r.u.slots)
	}
	r.kids[1].rtt = 300 * time.Millisecond
	for range queueFor {
		r.second(true)
	}
	if r.u.slots != 2 {
		t.Errorf("%d slots when two of four children queue, want 2", r.u.slots)
	}
	r = newRun(6, 6)
	for i := range r.kids {
		r.second(true)
		r.kids[i].rtt = time.Second
	}
	for range 30 {
		r.second(true)
	}
	if r.u.slots != 6 {
		t.Errorf("%d slots, but the user has said 6", r.u.slots)
	}
}

// A machine that is too busy to keep time does not judge its links.
func TestBusyIsNoQueue(t *testing.T) {
	r := newRun(0, 4)
	r.second(false)
	for i := range r.kids {
		r.kids[i].rtt = time.Second
	}
	for range 10 {
		r.now = r.now.Add(time.Second)
		r.second(false)
	}
	if r.u.slots != tree.DefaultSlots {
		t.Errorf("%d slots", r.u.slots)
	}
}

func TestPoorLinks(t *testing.T) {
	for _, c := range []struct {
		name string
		loss []int
		want tree.NodeID
	}{
		{"all well", []int{0, 0, 0, 0, 0}, ""},
		{"some loss everywhere", []int{6, 5, 7, 6, 6}, ""},
		{"one child much worse", []int{0, 12, 1, 0, 0}, "kid1"},
		{"a little loss", []int{0, 3, 0, 0, 0}, ""},
		{"a bad parent", []int{0, 0, 0, 0, 15}, "parent"},
	} {
		r := newRun(0, 4)
		var got tree.NodeID
		for range 20 {
			if poor := r.second(false, c.loss...); poor != "" && got == "" {
				got = poor
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
