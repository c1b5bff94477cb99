package tree

import (
	"slices"
	"strings"
	"time"
)

// child is a node that takes the stream from us, or has been promised a slot.
type child struct {
	node      NodeID
	offer     OfferID
	up        bool      // linked, served
	attached  bool      // has spoken
	until     time.Time // when the promise lapses; zero once attached
	since     time.Time // of the promise, or of its coming
	promise   time.Time // until then its slots count though it is not ready
	leaving   bool
	suspect   bool      // somebody has lost it as a parent; until it speaks
	takenIn   time.Time // when it came as a standby; zero: it came by an offer
	displaces bool      // it came by an offer though we were full: the weakest has to go
	blames    int       // nodes that it did not deliver to
	blamedBy  NodeID    // the last of them
	shunned   time.Time // gets no more children until then
	slots     int       // as it claims
	age       int       // minutes here, as it claims
	reach     Reach
	fresh     bool // wants the next stamp

	layers  []uint32 // of its last sum
	open    rooms    // of its last sum, less what was handed down since
	subtree int
	contact []byte
	entries []Entry
	num     uint64  // of the last offer handed down
	ready   bool    // its sums count room; before, what it has promised counts
	queue   []*held // handed to it before it was ready
	handed  []handed
}

// handed is an offer that the child's sums do not yet reckon with.
type handed struct {
	num   uint64
	level int
	need  need
	at    time.Time
}

// held is another's offer that we have dealt with or are dealing with.
type held struct {
	offer   Offer
	from    NodeID // the parent or child that handed it on; empty: signalling
	up      bool   // from is a child
	hops    int
	deepest int
	to      NodeID   // whom it was handed to
	asked   bool     // the parent was
	tried   []NodeID // children
	at      time.Time
	since   time.Time // of the joiner's first offer in a row
	placed  bool      // accepted, or handed to a child that has not sent it back
}

func compareKid(c *child, n NodeID) int { return strings.Compare(string(c.node), string(n)) }

func (p *Peer) kid(n NodeID) *child {
	if i, ok := slices.BinarySearchFunc(p.kids, n, compareKid); ok {
		return p.kids[i]
	}
	return nil
}

// offerReceived takes an offer from signalling.
func (p *Peer) offerReceived(o Offer) {
	if o.Joiner == "" || len(o.Joiner) > maxID || o.Slots < 0 || o.Slots > maxSlots || o.Up < 0 || o.Reach.NAT >= nats || o.Purpose >= purposes || len(o.Avoid) > maxID || len(o.Raw) > maxRaw || o.Below < 0 || o.Below >= maxCount {
		return
	}
	p.take(&held{offer: o, deepest: p.deepest(o)})
}

// deepest is how far an offer may fall. The joiner chose us by a head that may be old:
// when a crowd does so, our subtree must not grow deep while others have room. The
// root knows all there is, orphans are better off near, and of what is open to those
// behind a NAT heads say nothing.
func (p *Peer) deepest(o Offer) int {
	if p.cfg.Root || o.Below > 1 || o.Avoid != "" || needOf(o.Reach) > anyNode {
		return maxPath
	}
	shallowest := maxPath
	for _, e := range p.head.Entries {
		shallowest = min(shallowest, rankOpening(e.Opening))
	}
	return min(shallowest+1, maxPath)
}

// handedDown takes an offer from the parent.
func (p *Peer) handedDown(m HandDown) {
	p.seenNum = max(p.seenNum, m.Num)
	p.dirty = true
	p.take(&held{offer: m.Offer, from: p.parent, hops: m.Hops, deepest: m.Deepest})
}

// take deals with an offer once, whatever carriers bring it.
func (p *Peer) take(h *held) {
	o := h.offer
	if old := p.held[o.Joiner]; old != nil && o.ID <= old.offer.ID || p.underWay(old, o) {
		return
	}
	c := p.kid(o.Joiner)
	if o.Joiner == p.cfg.Self || p.isUnheard(o.Joiner) || c != nil && o.ID <= c.offer {
		return
	}
	p.remember(h)
	if c != nil && o.Purpose == ToJoin && (!c.attached || o.Avoid != p.cfg.Self) {
		if p.now.Before(c.takenIn.Add(takenInGrace)) {
			return // its offer has crossed its coming
		}
		// It has given up the offer that this slot was promised to, or, not naming us
		// as the parent it has lost, it has been started anew.
		p.dropKid(c, true, true)
	}
	if c := p.kid(o.Avoid); c != nil && o.Purpose == ToJoin {
		c.suspect = true
		p.unrest()
		if o.Joiner != c.blamedBy {
			c.blamedBy = o.Joiner
			if c.blames++; c.blames >= shunFrom {
				c.shunned = p.now.Add(shunTime)
			}
		}
	}
	p.place(h)
}

// remember keeps the newest offers, so that a second copy is not answered again.
func (p *Peer) remember(h *held) {
	if p.held == nil {
		p.held = make(map[NodeID]*held)
	}
	h.at, h.since = p.now, p.now
	if old := p.held[h.offer.Joiner]; old != nil && !old.placed && p.now.Before(old.at.Add(provisional)) {
		h.since = old.since
	}
	for len(p.heldOrder) > 0 {
		old := p.heldOrder[0]
		if len(p.heldOrder) < maxHeld && p.now.Before(old.at.Add(offerMemory)) {
			break
		}
		p.heldOrder[0] = nil
		p.heldOrder = p.heldOrder[1:]
		if p.held[old.offer.Joiner] == old {
			delete(p.held, old.offer.Joiner)
		}
	}
	p.held[h.offer.Joiner] = h
	p.heldOrder = append(p.heldOrder, h)
}

// place finds room for an offer: here, else below, else above if it came from below,
// else it goes back.
func (p *Peer) place(h *held) {
	ok := p.attached() && p.leaveBy.IsZero() && !p.frozen() && h.hops < maxPath && !p.above(h.offer.Joiner)
	switch {
	case ok && h.offer.Purpose == ToStand && p.canStand(h):
		p.stand(h)
	case ok && h.offer.Purpose == ToStand && p.handStand(h):
	case ok && h.offer.Purpose != ToStand && p.canAccept(h):
		p.accept(h)
	case ok && h.offer.Purpose != ToStand && p.handDown(h):
	case ok && h.offer.Purpose != ToStand && p.canDisplace(h):
		p.displacedAt = p.now
		p.accept(h)
		p.kid(h.offer.Joiner).displaces = true
	case p.handUp(h):
	case p.waitFor(h):
	default:
		p.refuse(h)
	}
}

func (p *Peer) canAccept(h *held) bool {
	return p.free() > 0 && p.layer()+1 <= min(h.deepest, maxPath-1) &&
		h.offer.Avoid != p.cfg.Self && p.kid(h.offer.Joiner) == nil && !p.isBanned(h.offer.Joiner) && p.cfg.Reach.Meets(h.offer.Reach)
}

// above says whether we hang below node, so that it must not hang below us.
func (p *Peer) above(node NodeID) bool {
	if c := p.seek.cand; c != nil && c.node == node || p.isBackup(node) && p.backup.attached {
		return true
	}
	return slices.ContainsFunc(p.path, func(h Hop) bool { return h.Node == node })
}

// free is how many slots neither have a child nor are promised.
func (p *Peer) free() int {
	if p.wary() {
		return p.waryFree()
	}
	return max(p.slots-len(p.kids), 0)
}

func (p *Peer) accept(h *held) {
	o := h.offer
	queue := p.makeWay()
	c := &child{
		node: o.Joiner, offer: o.ID, slots: o.Slots, age: o.Up, reach: o.Reach, until: p.now.Add(provisional),
		promise: p.now.Add(provisional), open: promised(o),
	}
	p.insertKid(c)
	p.removeStandby(o.Joiner) // it is more now
	p.accepted(h)
	if o.Below > 1 { // it will want proof that we are not below it
		p.wantFresh(c)
	}
	p.placeAll(queue)
}

func (p *Peer) insertKid(c *child) {
	c.since = p.now
	i, _ := slices.BinarySearchFunc(p.kids, c.node, compareKid)
	p.kids = slices.Insert(p.kids, i, c)
	p.hold()
	if len(p.kids) == 1 {
		p.lowBackup()
	}
	p.dirty = true
}

// handDown gives the offer to the child with the shallowest opening.
func (p *Peer) handDown(h *held) bool {
	var best *child
	bestLevel := 0
	for _, c := range p.kids {
		if c.node == h.offer.Joiner || c.node == h.offer.Avoid || c.node == h.from || !c.ready && !h.offer.newcomer() || slices.Contains(h.tried, c.node) {
			continue
		}
		level := p.opening(c, c.needFor(h.offer.Reach))
		if level < 0 || p.layer()+2+level > h.deepest {
			continue
		}
		if best == nil || level < bestLevel || level == bestLevel && (c.ready && !best.ready ||
			c.ready == best.ready && c.subtree+len(c.handed) < best.subtree+len(best.handed)) {
			best, bestLevel = c, level
		}
	}
	if best == nil {
		return false
	}
	p.handTo(best, h, best.needFor(h.offer.Reach), bestLevel)
	return true
}

// handTo hands an offer to a child, or lets it wait until the child can take it.
func (p *Peer) handTo(c *child, h *held, n need, level int) {
	c.num++
	c.handed = append(c.handed, handed{c.num, level, n, p.now})
	c.open.take(n, level)
	h.to, h.placed = c.node, h.from == "" || h.up
	h.tried = append(h.tried, c.node)
	p.dirty = true
	if !c.ready {
		c.queue = append(c.queue, h)
		return
	}
	p.send(c.node, HandDown{Num: c.num, Hops: h.hops + 1, Deepest: h.deepest, Offer: h.offer})
}

// promised is the room that an accepted joiner will have. It is counted while the link is
// being made, else a crowd would have to wait at every layer until it is told of.
func promised(o Offer) rooms {
	r := rooms{[]uint32{uint32(o.Slots)}}
	if s := o.Reach.serves(); s < openOnly {
		r[s+1] = []uint32{0}
	}
	return r
}

// makeReady hands c what has waited for it.
func (p *Peer) makeReady(c *child) {
	c.ready, c.handed = true, nil
	for _, h := range p.takeQueue(c) {
		n := c.needFor(h.offer.Reach)
		if level := c.open.first(n); level >= 0 {
			p.handTo(c, h, n, level)
		} else {
			p.place(h)
		}
	}
}

// takeQueue empties c's queue of what still waits for a place.
func (p *Peer) takeQueue(c *child) (out []*held) {
	for _, h := range c.queue {
		if p.held[h.offer.Joiner] == h && h.to == c.node {
			h.to, h.placed = "", false
			out = append(out, h)
		}
	}
	c.queue = nil
	return out
}

// opening is the shallowest level of c's subtree that has a free slot for n (0: c's own),
// or −1.
func (p *Peer) opening(c *child, n need) int {
	if !p.mayHand(c) {
		return -1
	}
	return c.open.first(n)
}

// mayHand says whether offers may be handed to c: a child that does not answer for what
// it was given gets no more.
func (p *Peer) mayHand(c *child) bool {
	if c.leaving || c.suspect || p.now.Before(c.shunned) || len(c.handed) >= maxHanded {
		return false
	}
	if !c.ready {
		return p.now.Before(c.promise) && !p.wary()
	}
	return len(c.handed) == 0 || p.now.Before(c.handed[0].at.Add(ackWait))
}

// needFor is what a joiner behind r needs of the openings below c. Who shares a site with
// c may find others of that site there.
func (c *child) needFor(r Reach) need {
	if r.Site != 0 && r.Site == c.reach.Site {
		return anyNode
	}
	return needOf(r)
}

// kidMessage takes what a child says.
func (p *Peer) kidMessage(c *child, m Message) {
	c.suspect = false
	if _, gone := m.(Gone); gone {
		p.dropKid(c, false, true)
		return
	}
	p.kidUp(c)
	if !c.attached {
		c.attached, c.until = true, time.Time{}
		p.dirty = true
		if p.attached() && p.head.Seq > 0 {
			p.send(c.node, HeadDown{Stamp: p.stamp, Delay: p.delay(), Head: p.headDown()})
		}
	}
	switch m := m.(type) {
	case Sum:
		p.kidSum(c, m)
	case HandUp:
		p.handedUp(c, m)
	case Reply:
		p.reply(c.node, m)
	case NoRoom:
		p.noPlace(c.node, m)
	case Stand:
		if !c.takenIn.IsZero() {
			p.stepBack(c, m)
		}
	case Fresh:
		p.wantFresh(c)
	case Leaving:
		c.leaving = true
		p.dirty = true
	}
}

// kidUp serves a child whose link is connected.
func (p *Peer) kidUp(c *child) {
	if c.up {
		return
	}
	c.up = true
	p.do(Serve{Child: c.node})
	if p.attached() {
		p.send(c.node, p.pathMessage())
	}
}

// dropKid frees a slot; goodbye tells the child, linked says that there is, or may
// soon be, a link to let go.
func (p *Peer) dropKid(c *child, goodbye, linked bool) {
	p.placeAll(p.cutKid(c, goodbye, linked))
}

// placeAll finds room for offers that have waited in vain for a child.
func (p *Peer) placeAll(queue []*held) {
	for _, h := range queue {
		p.place(h)
	}
}

// cutKid is dropKid, but for the offers that have waited for c: it returns them.
func (p *Peer) cutKid(c *child, goodbye, linked bool) []*held {
	i, _ := slices.BinarySearchFunc(p.kids, c.node, compareKid)
	p.kids = slices.Delete(p.kids, i, i+1)
	p.dirty = true
	if c.up {
		p.do(Unserve{Child: c.node})
		if goodbye {
			p.send(c.node, Gone{})
		}
	}
	if linked {
		p.release(c.node)
	}
	return p.takeQueue(c)
}

// dropLate takes back slots from joiners that did not come.
func (p *Peer) dropLate() {
	for i := len(p.kids) - 1; i >= 0; i-- {
		if c := p.kids[i]; !c.until.IsZero() && !p.now.Before(c.until) {
			p.lapse(c.node)
			p.dropKid(c, true, true)
		}
	}
	for i := len(p.standbys) - 1; i >= 0; i-- {
		if s := p.standbys[i]; !s.until.IsZero() && !p.now.Before(s.until) {
			p.dropStandby(s, true)
		}
	}
}

// pathMessage tells a child where we stand.
func (p *Peer) pathMessage() Path {
	hops := make([]Hop, 0, len(p.path)+1)
	hops = append(append(hops, p.path...), Hop{Node: p.cfg.Self, Contact: p.cfg.Contact})
	for i := entryLayer + 1; i < len(hops)-pathContacts; i++ {
		hops[i].Contact = nil
	}
	return Path{Stamp: p.stamp, Delay: p.delay(), Slots: p.strength(), Hops: hops, Reach: p.cfg.Reach, Up: p.uptime()}
}

func (p *Peer) tellPath() {
	for _, c := range p.kids {
		if c.up {
			p.send(c.node, p.pathMessage())
		}
	}
	for _, s := range p.standbys {
		if s.up {
			p.send(s.node, p.pathMessage())
		}
	}
}
