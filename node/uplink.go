package node

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/tree"
)

const (
	queueGrowth = 100 * time.Millisecond // of a round trip over its best: packets wait somewhere
	queueFor    = 3                      // seconds in a row
	queueKids   = 2                      // children together: then it is our uplink, not theirs
	calmTime    = 20 * time.Second       // without growth, then one more slot is tried
	maxSlots    = 16                     // that a node gives itself

	lossWindow = 5 * time.Second
	lossFew    = 200  // packets that a window must have to be judged
	poorKid    = 0.05 // share of packets sent again, and …
	poorTimes  = 4    // … so many times what the others need
	poorParent = 0.10 // share of packets that did not come the first time
	poorFor    = 2    // windows in a row
	busyTick   = 1200 * time.Millisecond
)

// uplink judges once a second how our links do: how many children this node's uplink
// carries, and which link is clearly worse than it should be. It is arithmetic only.
type uplink struct {
	slots  int  // the budget now
	fixed  bool // the user has said how many
	at     time.Time
	calm   time.Time // since when no queue has grown
	window time.Time // this one began
	kids   map[tree.NodeID]*line
	up     line // from the parent
	parent tree.NodeID
}

// line is a link with one neighbour.
type line struct {
	best        time.Duration // round trip
	grown       int           // seconds in a row
	sent, again uint64        // packets when the window began
	loss        float64       // of the last window; negative: too few packets
	poor        int           // windows in a row
	seen        time.Time
}

// figures are what is known of a link at this moment: for a child packets sent and sent
// again, for the parent packets received and those that did not come the first time.
type figures struct {
	node        tree.NodeID
	rtt         time.Duration // zero: unknown
	sent, again uint64
}

func newUplink(slots int) uplink {
	u := uplink{slots: slots, fixed: slots != 0, kids: map[tree.NodeID]*line{}}
	if slots == 0 {
		u.slots = tree.DefaultSlots
	}
	return u
}

// step takes the figures of this second; scarce says that the tree needs more room. It
// returns the node at the other end of a poor link, if there is one.
func (u *uplink) step(now time.Time, kids []figures, parent figures, scarce bool) (poor tree.NodeID) {
	busy := now.Sub(u.at) > busyTick // this process itself was late: its figures mean little
	u.at = now
	u.forget(now, kids, parent.node)
	if busy {
		u.calm = now
		return ""
	}
	u.budget(now, kids, scarce)
	if now.Sub(u.window) < lossWindow {
		return ""
	}
	u.window = now
	for _, k := range kids {
		u.kids[k.node].count(k)
	}
	u.up.count(parent)
	return u.poorest(kids)
}

// forget drops what is known of those that are no neighbours any more.
func (u *uplink) forget(now time.Time, kids []figures, parent tree.NodeID) {
	for _, k := range kids {
		l := u.kids[k.node]
		if l == nil {
			l = &line{sent: k.sent, again: k.again, loss: -1}
			u.kids[k.node] = l
		}
		l.seen = now
	}
	for id, l := range u.kids {
		if l.seen != now {
			delete(u.kids, id)
		}
	}
	if parent != u.parent {
		u.parent, u.up = parent, line{loss: -1}
	}
}

// budget halves the slots when two children's packets queue, and tries one more after a
// calm while (as DESIGN 4).
func (u *uplink) budget(now time.Time, kids []figures, scarce bool) {
	queued := 0
	for _, k := range kids {
		l := u.kids[k.node]
		if k.rtt == 0 {
			continue
		}
		if l.best == 0 || k.rtt < l.best {
			l.best = k.rtt
		}
		if k.rtt < l.best+queueGrowth {
			l.grown = 0
			continue
		}
		if l.grown++; l.grown >= queueFor {
			queued++
		}
	}
	if queued > 0 || u.calm.IsZero() {
		u.calm = now
	}
	switch {
	case u.fixed:
	case queued >= queueKids:
		u.slots = max(1, min(u.slots, len(kids))/2)
		for _, l := range u.kids {
			l.grown = 0 // it takes a while until those that have to go are gone
		}
	case scarce && len(kids) >= u.slots && u.slots < maxSlots && now.Sub(u.calm) >= calmTime:
		u.slots++
		u.calm = now
	}
}

// count ends a window.
func (l *line) count(f figures) {
	sent, again := f.sent-l.sent, f.again-l.again
	if f.sent < l.sent || f.again < l.again || l.sent == 0 {
		sent = 0
	}
	l.loss = -1
	if sent >= lossFew {
		l.loss = float64(again) / float64(sent)
	}
	l.sent, l.again = f.sent, f.again
}

// poorest finds a child whose link is much worse than its siblings', or sees that what
// comes from the parent is bad.
func (u *uplink) poorest(kids []figures) (poor tree.NodeID) {
	for _, k := range kids {
		l := u.kids[k.node]
		var others []float64
		for _, o := range kids {
			if loss := u.kids[o.node].loss; o.node != k.node && loss >= 0 {
				others = append(others, loss)
			}
		}
		slices.Sort(others)
		if len(others) == 0 || l.loss < poorKid || l.loss < poorTimes*others[len(others)/2] {
			l.poor = 0
		} else if l.poor++; l.poor >= poorFor {
			l.poor, poor = 0, k.node
		}
	}
	if u.up.loss < poorParent {
		u.up.poor = 0
	} else if u.up.poor++; u.up.poor >= poorFor && poor == "" {
		u.up.poor, poor = 0, u.parent
	}
	return poor
}

// tend looks after a stream's links, once a second.
func (s *live) tend(now time.Time) {
	n, v := s.room.n, s.tree.View()
	var kids []figures
	for _, c := range v.Children {
		if l := n.linkTo(c.Node); l != nil {
			st := l.Stats()
			kids = append(kids, figures{node: c.Node, rtt: st.RTT, sent: st.Forwarded, again: st.Repairs})
		}
	}
	parent := figures{node: v.Parent}
	for _, t := range s.hist.Stats() {
		parent.sent += t.Received
		parent.again += t.Repaired + t.Lost
	}
	members := 0
	for _, k := range v.Head.Layers {
		members += int(k)
	}
	scarce := members > 0 && int(v.Head.Free) < members/8
	was := s.uplink.slots
	poor := s.uplink.step(now, kids, parent, scarce)
	if s.uplink.slots != was {
		s.logger().Info("slots", "now", s.uplink.slots, "before", was)
		s.step(tree.SetSlots{Slots: s.uplink.slots})
	}
	if poor != "" {
		s.logger().Info("a poor link", "peer", peer.ID(poor))
		s.step(tree.Poor{Peer: poor})
	}
}
