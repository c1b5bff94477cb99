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
	leaving   bool
	suspect   bool      // somebody has lost it as a parent; until it speaks
	takenIn   time.Time // when it came as a standby; zero: it came by an offer
	displaces bool      // it came by an offer though we were full: the weakest has to go
	blames    int       // nodes that it did not deliver to
	blamedBy  NodeID    // the last of them
	shunned   time.Time // gets no more children until then
	slots     int       // as it claims
	fresh     bool      // wants the next stamp

	layers  []uint32 // of its last sum
	open    []uint32 // of its last sum, less what was handed down since
	subtree int
	contact []byte
	entries []Entry
	num     uint64 // of the last offer handed down
	handed  []handed
}

// handed is an offer that the child's sums do not yet reckon with.
type handed struct {
	num   uint64
	level int
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
	if o.Joiner == "" || len(o.Joiner) > maxID || o.Slots < 0 || o.Slots > maxSlots || o.Purpose >= purposes || len(o.Avoid) > maxID || len(o.Raw) > maxRaw || o.Below < 0 || o.Below >= maxCount {
		return
	}
	p.take(&held{offer: o, deepest: p.deepest(o)})
}

// deepest is how far an offer may fall. The joiner chose us by a head that may be old:
// when a crowd does so, our subtree must not grow deep while others have room. The
// root knows all there is, and orphans are better off near.
func (p *Peer) deepest(o Offer) int {
	if p.cfg.Root || o.Below > 1 || o.Avoid != "" {
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
	if old := p.held[o.Joiner]; old != nil && o.ID <= old.offer.ID {
		return
	}
	c := p.kid(o.Joiner)
	if o.Joiner == p.cfg.Self || c != nil && o.ID <= c.offer {
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
	h.at = p.now
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
	default:
		p.refuse(h)
	}
}

func (p *Peer) canAccept(h *held) bool {
	return p.free() > 0 && p.layer()+1 <= min(h.deepest, maxPath-1) &&
		h.offer.Avoid != p.cfg.Self && p.kid(h.offer.Joiner) == nil && !p.isBanned(h.offer.Joiner)
}

// above says whether we hang below node, so that it must not hang below us.
func (p *Peer) above(node NodeID) bool {
	if c := p.seek.cand; c != nil && c.node == node || p.isBackup(node) && p.backup.attached {
		return true
	}
	return slices.ContainsFunc(p.path, func(h Hop) bool { return h.Node == node })
}

// free is how many slots neither have a child nor are promised.
func (p *Peer) free() int { return max(p.slots-len(p.kids), 0) }

func (p *Peer) accept(h *held) {
	o := h.offer
	c := &child{node: o.Joiner, offer: o.ID, slots: o.Slots, until: p.now.Add(provisional)}
	p.insertKid(c)
	p.removeStandby(o.Joiner) // it is more now
	p.accepted(h)
	if o.Below > 1 { // it will want proof that we are not below it
		p.wantFresh(c)
	}
}

func (p *Peer) insertKid(c *child) {
	i, _ := slices.BinarySearchFunc(p.kids, c.node, compareKid)
	p.kids = slices.Insert(p.kids, i, c)
	p.hold()
	p.dirty = true
}

// handDown gives the offer to the child with the shallowest opening.
func (p *Peer) handDown(h *held) bool {
	var best *child
	bestLevel := 0
	for _, c := range p.kids {
		if c.node == h.offer.Joiner || c.node == h.offer.Avoid || c.node == h.from || slices.Contains(h.tried, c.node) {
			continue
		}
		level := p.opening(c)
		if level < 0 || p.layer()+2+level > h.deepest {
			continue
		}
		if best == nil || level < bestLevel ||
			level == bestLevel && c.subtree+len(c.handed) < best.subtree+len(best.handed) {
			best, bestLevel = c, level
		}
	}
	if best == nil {
		return false
	}
	best.num++
	best.handed = append(best.handed, handed{best.num, bestLevel, p.now})
	best.open[bestLevel]--
	h.to = best.node
	h.tried = append(h.tried, best.node)
	p.dirty = true
	p.send(best.node, HandDown{Num: best.num, Hops: h.hops + 1, Deepest: h.deepest, Offer: h.offer})
	return true
}

// opening is the shallowest level of c's subtree that has a free slot (0: c's own),
// or −1. A child that does not answer for what it was given gets no more.
func (p *Peer) opening(c *child) int {
	if !c.attached || c.leaving || c.suspect || p.now.Before(c.shunned) || len(c.handed) >= maxHanded ||
		len(c.handed) > 0 && !p.now.Before(c.handed[0].at.Add(ackWait)) {
		return -1
	}
	return slices.IndexFunc(c.open, func(n uint32) bool { return n > 0 })
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
}

// dropLate takes back slots from joiners that did not come.
func (p *Peer) dropLate() {
	for i := len(p.kids) - 1; i >= 0; i-- {
		if c := p.kids[i]; !c.until.IsZero() && !p.now.Before(c.until) {
			if !c.up {
				p.banFor(c.node, banTime)
			}
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
	return Path{Stamp: p.stamp, Delay: p.delay(), Slots: p.strength(), Hops: hops}
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
