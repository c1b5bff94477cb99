package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/tree"
)

const (
	queueGrowth = 100 * time.Millisecond // of packets that wait on the way to a child
	strainFor   = 3                      // seconds in a row
	strainKids  = 2                      // children together: then it is our uplink, not theirs
	calmTime    = 20 * time.Second       // without strain, then one more slot is tried
	maxSlots    = 16                     // that a node gives itself
	mostSlots   = 64                     // that an uplink is reckoned to have

	uplinkShare = 0.9 // of --uplink is planned with (DESIGN 5)
	wireShare   = 1.1 // of a stream's rate that its packets take with their headers
	rateGain    = 10  // seconds over which a stream's rate is smoothed

	slowTime  = 10 * time.Second // a child that skips again within it is still slow …
	slowTimes = 3                // … and after so many seconds of that it should go elsewhere

	lossWindow = 5 * time.Second
	lossFew    = 200  // packets that a window must have to be judged
	poorKid    = 0.05 // share of packets sent again, and …
	poorTimes  = 4    // … so many times what the others need; or a queue that stands so many times as long
	poorParent = 0.10 // share of packets that did not come the first time
	poorFor    = 2    // windows in a row
	busyTick   = 1200 * time.Millisecond
)

// uplink judges once a second how our links do: how many children this node's uplink
// carries, and which link is clearly worse than it should be. It is arithmetic only.
type uplink struct {
	slots  int     // the budget now
	fixed  bool    // the user has said how many
	given  float64 // bits a second that the user says there are; 0: unknown
	bps    float64 // of the stream, smoothed
	at     time.Time
	calm   time.Time // since when no child's line was strained
	window time.Time // this one began
	kids   map[tree.NodeID]*line
	up     line // from the parent
	parent tree.NodeID
}

// line is a link with one neighbour.
type line struct {
	strained    int // seconds in a row
	skipped     uint64
	slow        int           // seconds in which it skipped …
	slowAt      time.Time     // … the last one
	sent, again uint64        // packets when the window began
	loss        float64       // of the last window; negative: too few packets
	queue       time.Duration // the shortest of this window …
	late        time.Duration // … and of the last one: by so much whatever it gets is late
	poor        int           // windows in a row
	seen        time.Time
}

// figures are what is known of a link at this moment: for a child packets sent, sent
// again and skipped, for the parent packets received and those that did not come the first time.
type figures struct {
	node                 tree.NodeID
	strained             bool // less can be sent than the stream takes, or packets queue
	sent, again, skipped uint64
	queue                time.Duration // that stands on the way to a child
}

func newUplink(slots int, given float64) uplink {
	u := uplink{slots: slots, fixed: slots != 0, given: given, kids: map[tree.NodeID]*line{}}
	switch {
	case u.fixed:
	case given > 0:
		u.slots = carries(given, slotRate)
	default:
		u.slots = tree.DefaultSlots
	}
	return u
}

// startSlots are those of a stream of which nothing is known yet, as the tree counts.
func (c Config) startSlots(own bool) int {
	if slots := c.slots(own); slots != 0 || c.Uplink == 0 {
		return slots
	}
	return treeSlots(carries(c.Uplink, slotRate))
}

// slots are Slots as they are for a stream of our own, or of another's.
func (c Config) slots(own bool) int {
	if c.OwnOnly && !own {
		return -1
	}
	return c.Slots
}

// tellUplink tells the links how much this node may send: what the user says, or what
// the slots come to.
func (n *Node) tellUplink(now time.Time) {
	if n.cfg.Uplink > 0 {
		n.links.SetUplink(uint64(n.cfg.Uplink), true)
		return
	}
	sum := 0.0
	for _, s := range n.streams {
		sum += wireShare * float64(s.hist.Bitrate(now)) * float64(max(0, s.tree.View().Slots))
	}
	n.links.SetUplink(uint64(sum), false)
}

// carries is how many children an uplink has room for (docs/performance.md).
func carries(uplink, stream float64) int {
	return int(min(uplinkShare*uplink/(wireShare*stream), mostSlots))
}

// step takes the figures of this second; bps is what the stream takes, scarce says that
// the tree needs more room. It returns the node at the other end of a poor link, if there
// is one.
func (u *uplink) step(now time.Time, bps float64, kids []figures, parent figures, scarce bool) (poor tree.NodeID) {
	busy := now.Sub(u.at) > busyTick // this process itself was late: its figures mean little
	u.at = now
	u.forget(now, kids, parent.node)
	if busy {
		u.calm = now
		return ""
	}
	slow := u.slowest(now, kids)
	u.fit(bps)
	u.budget(now, kids, scarce)
	if now.Sub(u.window) < lossWindow {
		return slow
	}
	u.window = now
	for _, k := range kids {
		u.kids[k.node].count(k)
	}
	u.up.count(parent)
	return cmp.Or(u.poorest(kids), slow)
}

// forget drops what is known of those that are no neighbours any more.
func (u *uplink) forget(now time.Time, kids []figures, parent tree.NodeID) {
	for _, k := range kids {
		l := u.kids[k.node]
		if l == nil {
			l = &line{sent: k.sent, again: k.again, skipped: k.skipped, loss: -1, queue: k.queue}
			u.kids[k.node] = l
		}
		l.seen, l.queue = now, min(l.queue, k.queue)
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

// fit makes the slots what a given uplink carries of this stream. Until its rate is known
// they are for one of 2.5 Mbit/s.
func (u *uplink) fit(bps float64) {
	if u.given == 0 || u.fixed || bps == 0 {
		return
	}
	if u.bps == 0 {
		u.bps = bps
	}
	u.bps += (bps - u.bps) / rateGain
	// Down only when it does not fit with the share that is kept free either.
	if n := carries(u.given, u.bps); n > u.slots || carries(u.given/uplinkShare, u.bps) < u.slots {
		u.slots = n
	}
}

// budget halves the slots when two children's lines are strained together, and tries one
// more after a calm while (as DESIGN 4).
func (u *uplink) budget(now time.Time, kids []figures, scarce bool) {
	strained := 0
	for _, k := range kids {
		l := u.kids[k.node]
		if !k.strained {
			l.strained = 0
			continue
		}
		if l.strained++; l.strained >= strainFor {
			strained++
		}
	}
	if strained > 0 || u.calm.IsZero() {
		u.calm = now
	}
	switch {
	case u.fixed || u.given > 0:
	case strained >= strainKids:
		u.slots = max(1, min(u.slots, len(kids))/2)
		for _, l := range u.kids {
			l.strained = 0 // it takes a while until those that have to go are gone
		}
	case scarce && len(kids) >= u.slots && u.slots < maxSlots && now.Sub(u.calm) >= calmTime:
		u.slots++
		u.calm = now
	}
}

// slowest finds a child that cannot be kept up with while all others can: its own line is
// too thin for the stream, or that from here to it.
func (u *uplink) slowest(now time.Time, kids []figures) (slow tree.NodeID) {
	several := 0
	for _, k := range kids {
		l := u.kids[k.node]
		if now.Sub(l.slowAt) > slowTime {
			l.slow = 0
		}
		if k.skipped > l.skipped {
			l.slow++
			l.slowAt = now
		}
		l.skipped = k.skipped
		if l.slow > 0 {
			several++
		}
		if l.slow >= slowTimes {
			slow = k.node
		}
	}
	if several > 1 || slow == "" {
		return ""
	}
	u.kids[slow].slow = 0
	return slow
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
	l.late, l.queue = l.queue, f.queue
}

// poorest finds a child whose link is much worse than its siblings', or sees that what
// comes from the parent is bad.
func (u *uplink) poorest(kids []figures) (poor tree.NodeID) {
	for _, k := range kids {
		l := u.kids[k.node]
		if !u.lossy(l, kids) && !u.late(l, kids) {
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

// lossy says that a child needs far more packets again than the others do.
func (u *uplink) lossy(l *line, kids []figures) bool {
	var others []float64
	for _, o := range kids {
		if k := u.kids[o.node]; k != l && k.loss >= 0 {
			others = append(others, k.loss)
		}
	}
	slices.Sort(others)
	return len(others) > 0 && l.loss >= poorKid && l.loss >= poorTimes*others[len(others)/2]
}

// late says that all that a child gets comes far later than what the others get.
func (u *uplink) late(l *line, kids []figures) bool {
	var others []time.Duration
	for _, o := range kids {
		if k := u.kids[o.node]; k != l {
			others = append(others, k.late)
		}
	}
	slices.Sort(others)
	return len(others) > 0 && l.late >= queueGrowth && l.late >= poorTimes*others[len(others)/2]
}

// tend looks after a stream's links, once a second.
func (s *live) tend(now time.Time) {
	n, v := s.room.n, s.tree.View()
	bps := float64(s.hist.Bitrate(now))
	var kids []figures
	for _, c := range v.Children {
		if l := n.linkTo(c.Node); l != nil {
			st := l.Stats()
			kids = append(kids, figures{
				node: c.Node, sent: st.Forwarded, again: st.Repairs, skipped: l.StreamStats(s.id).Skipped, queue: st.Queue,
				strained: st.Limit > 0 && float64(st.Limit) < wireShare*bps || st.Queue >= queueGrowth,
			})
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
	poor := s.uplink.step(now, bps, kids, parent, scarce)
	if s.uplink.slots != was {
		s.logger().Info("slots", "now", s.uplink.slots, "before", was)
		s.step(tree.SetSlots{Slots: treeSlots(s.uplink.slots)})
	}
	if poor != "" {
		s.logger().Info("a poor link", "peer", peer.ID(poor))
		s.step(tree.Poor{Peer: poor})
	}
}

// treeSlots is a number of slots as the tree counts: there 0 means the default.
func treeSlots(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
