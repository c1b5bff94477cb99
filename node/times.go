package node

import (
	"time"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/tree"
)

// joinTimes are the first moments of this node's way into a stream, as time since the
// node started; zero means that it has not happened yet.
type joinTimes struct {
	signal    dht.Signal
	answer    time.Duration
	connected time.Duration
	packet    time.Duration
	frame     time.Duration
}

func (j *joinTimes) answered(n *Node, via dht.Signal) {
	if j.answer == 0 {
		j.answer, j.signal = time.Since(n.start), via
	}
}

func (j *joinTimes) linkUp(n *Node) {
	if j.answer != 0 && j.connected == 0 {
		j.connected = time.Since(n.start)
	}
}

func (j *joinTimes) firstPacket(n *Node) {
	if j.packet == 0 {
		j.packet = time.Since(n.start)
	}
}

func (j *joinTimes) firstFrame(n *Node) {
	if j.frame == 0 {
		j.frame = time.Since(n.start)
	}
}

// gapWatch times the last gap in a stream: from when the last of those that delivered
// it stopped until the next did.
type gapWatch struct {
	from  map[tree.NodeID]bool // who delivers
	since time.Time            // nobody does; zero: somebody, or nobody ever did
	last  time.Duration
}

func (g *gapWatch) flows(id tree.NodeID) {
	if g.from == nil {
		g.from = map[tree.NodeID]bool{}
	}
	g.from[id] = true
	if !g.since.IsZero() {
		g.last, g.since = time.Since(g.since), time.Time{}
	}
}

// stops says that nothing has come from id for d.
func (g *gapWatch) stops(id tree.NodeID, d time.Duration) {
	if g.from[id] {
		delete(g.from, id)
		if len(g.from) == 0 {
			g.since = time.Now().Add(-d)
		}
	}
}

// millis renders a time for the status document; unknown is null.
func millis(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	ms := float64(d.Microseconds()) / 1000
	return &ms
}
