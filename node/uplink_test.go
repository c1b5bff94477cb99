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
	r := &uplinkRun{u: newUplink(slots, 0), now: time.Unix(1000, 0), up: figures{node: "parent"}}
	for i := range kids {
		r.kids = append(r.kids, figures{node: tree.NodeID(fmt.Sprint("kid", i))})
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
	return r.u.step(r.now, 2.5e6, r.kids, r.up, scarce)
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
	r.kids[0].strained = true
	for range 10 {
		r.second(true)
	}
	if r.u.slots != 5 {
		t.Errorf("%d slots: one child's own line is no reason", r.u.slots)
	}
	r.kids[1].strained = true
	for range strainFor {
		r.second(true)
	}
	if r.u.slots != 2 {
		t.Errorf("%d slots when two of four children's lines are strained, want 2", r.u.slots)
	}
	r = newRun(6, 6)
	for i := range r.kids {
		r.second(true)
		r.kids[i].strained = true
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
		r.kids[i].strained = true
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
		loss []int // percent
		late []int // ms
		want tree.NodeID
	}{
		{"all well", []int{0, 0, 0, 0, 0}, nil, ""},
		{"some loss everywhere", []int{6, 5, 7, 6, 6}, nil, ""},
		{"one child much worse", []int{0, 12, 1, 0, 0}, nil, "kid1"},
		{"a little loss", []int{0, 3, 0, 0, 0}, nil, ""},
		{"a bad parent", []int{0, 0, 0, 0, 15}, nil, "parent"},
		{"one child much later", nil, []int{5, 0, 150, 20}, "kid2"},
		{"a little late", nil, []int{5, 0, 80, 20}, ""},
		{"all late", nil, []int{150, 140, 250, 160}, ""},
	} {
		r := newRun(0, 4)
		for i, ms := range c.late {
			r.kids[i].queue = time.Duration(ms) * time.Millisecond
		}
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

// An uplink that the user knows carries as many children as fit the stream, not less
// because a rate wavers.
func TestGivenUplink(t *testing.T) {
	for _, c := range []struct {
		given, bps float64
		start, end int
	}{
		{10e6, 2.5e6, 3, 3},
		{2e6, 400e3, 0, 4},
		{100e6, 5e6, 32, 16},
		{1e9, 100e3, 64, 64},
	} {
		u := newUplink(0, c.given)
		if u.slots != c.start {
			t.Errorf("%+v: %d slots at first", c, u.slots)
		}
		now := time.Unix(1000, 0)
		for i := range 60 {
			now = now.Add(time.Second)
			u.step(now, c.bps*(1+0.04*float64(i%2)), nil, figures{}, true)
		}
		if u.slots != c.end {
			t.Errorf("%+v: %d slots in the end", c, u.slots)
		}
	}
}

// A child that cannot be kept up with again and again, while its siblings can, should go.
func TestSlowChild(t *testing.T) {
	r := newRun(0, 3)
	slow := func(seconds int, kids ...int) (poor tree.NodeID) {
		for range seconds {
			for _, i := range kids {
				r.kids[i].skipped += 20
			}
			if p := r.second(false); p != "" {
				poor = p
			}
		}
		return poor
	}
	slow(2)
	if got := slow(2, 1); got != "" {
		t.Errorf("%q after 2 s", got)
	}
	if got := slow(1, 1); got != "kid1" {
		t.Errorf("%q after 3 s of skipping, want kid1", got)
	}
	if got := slow(20, 0, 2); got != "" {
		t.Errorf("%q, but two skip: it is our uplink", got)
	}
	if got := slow(20); got != "" {
		t.Errorf("%q, and nobody skips", got)
	}
}
