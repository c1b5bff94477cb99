package tree

import (
	"slices"
	"strings"
	"time"
)

// standby is a node that has us as its backup. It holds no slot: when its parent dies
// it is taken in beyond our slots if need be, and then asked to move on. Of those with the
// same parent there is one more at most than we have free slots, so that one death
// does not overload us.
type standby struct {
	node   NodeID
	offer  OfferID
	parent NodeID
	up     bool      // linked, may take the stream
	until  time.Time // when the promise lapses; zero once it has spoken
	fresh  bool      // wants the next stamp
}

func compareStandby(s *standby, n NodeID) int { return strings.Compare(string(s.node), string(n)) }

func (p *Peer) standby(n NodeID) *standby {
	if i, ok := slices.BinarySearchFunc(p.standbys, n, compareStandby); ok {
		return p.standbys[i]
	}
	return nil
}

func (p *Peer) insertStandby(s *standby) {
	i, _ := slices.BinarySearchFunc(p.standbys, s.node, compareStandby)
	p.standbys = slices.Insert(p.standbys, i, s)
	p.hold()
}

func (p *Peer) removeStandby(n NodeID) {
	if i, ok := slices.BinarySearchFunc(p.standbys, n, compareStandby); ok {
		p.standbys = slices.Delete(p.standbys, i, i+1)
	}
}

// bound says that others rely on our place, so that it must not get worse unnoticed.
func (p *Peer) bound() bool { return len(p.kids)+len(p.standbys) > 0 }

// canStand says whether we may be the backup of an offer's joiner.
func (p *Peer) canStand(h *held) bool {
	o := h.offer
	if s := p.standby(o.Joiner); s != nil && s.up { // it looks for another
		return false
	}
	if o.Avoid == "" || o.Avoid == p.cfg.Self || o.Joiner == p.parent || p.kid(o.Joiner) != nil ||
		p.isBackup(o.Joiner) || p.isBanned(o.Joiner) || !p.cfg.Reach.Meets(o.Reach) || p.layer()+1 > min(h.deepest, maxPath-1) || !p.roomFor(o.Joiner, o.Avoid, p.standbysFor(h.deepest)) {
		return false
	}
	for i, hop := range p.path {
		if i > 0 && hop.Node == o.Avoid { // we hang on the same parent; on the root everybody does
			return false
		}
	}
	return true
}

// standbysFor is how many standbys we take, the asker included. Half of the places are for
// those at most two layers below us: whoever stands deeper finds others.
func (p *Peer) standbysFor(deepest int) int {
	if deepest > p.layer()+1 {
		return p.slots * standbysPerSlot / 2
	}
	return p.slots * standbysPerSlot
}

// roomFor says whether most standbys leave room for one more with that parent.
func (p *Peer) roomFor(node, parent NodeID, most int) bool {
	all, same := 0, 0
	for _, s := range p.standbys {
		if s.node != node {
			all++
			if s.parent == parent {
				same++
			}
		}
	}
	return all < most && same <= p.free()
}

// stand promises to be a backup.
func (p *Peer) stand(h *held) {
	o := h.offer
	p.removeStandby(o.Joiner) // the promise of an older offer
	p.insertStandby(&standby{node: o.Joiner, offer: o.ID, parent: o.Avoid, until: p.now.Add(provisional)})
	p.accepted(h)
}

// handStand asks one of our other children to be the backup.
func (p *Peer) handStand(h *held) bool {
	o := h.offer
	if len(h.tried) >= standTries || o.Avoid == p.cfg.Self && !p.cfg.Root || p.layer()+2 > h.deepest {
		return false
	}
	var may []*child
	for _, c := range p.kids {
		if c.node != h.from && c.node != o.Joiner && c.node != o.Avoid && c.attached && !c.leaving && !c.suspect &&
			c.reach.Meets(o.Reach) && !slices.Contains(h.tried, c.node) {
			may = append(may, c)
		}
	}
	if len(may) == 0 {
		return false
	}
	c := may[p.rng.IntN(len(may))]
	h.to, h.tried = c.node, append(h.tried, c.node)
	p.send(c.node, HandDown{Num: c.num, Hops: h.hops + 1, Deepest: h.deepest, Offer: o})
	return true
}

// standbyUp lets a linked standby take the stream.
func (p *Peer) standbyUp(s *standby) {
	if s.up {
		return
	}
	s.up = true
	p.do(Serve{Child: s.node})
	p.send(s.node, p.pathMessage())
}

func (p *Peer) standbyMessage(s *standby, m Message) {
	p.standbyUp(s)
	s.until = time.Time{}
	switch m := m.(type) {
	case Stand:
		s.parent = m.Parent
		if !p.roomFor(s.node, s.parent, p.slots*standbysPerSlot) {
			p.dropStandby(s, true)
		}
	case Sum:
		p.takeIn(s, m)
	case HandUp:
		p.askedByStandby(s, m)
	case Fresh:
		s.fresh = true
		p.wantStamp()
	case Gone:
		p.dropStandby(s, false)
	}
}

// askedByStandby answers a standby that would rather be a child: if a slot is free.
func (p *Peer) askedByStandby(s *standby, m HandUp) {
	h := &held{offer: m.Offer, from: s.node, up: true, hops: m.Hops, deepest: m.Deepest}
	if m.Offer.Joiner != s.node || m.Offer.Purpose != ToMove || m.Offer.ID <= s.offer {
		return
	}
	if p.attached() && p.leaveBy.IsZero() && !p.frozen() && !p.above(s.node) && p.canAccept(h) {
		p.accept(h)
		return
	}
	p.send(s.node, NoRoom{Joiner: s.node, Offer: m.Offer.ID})
}

// takeIn makes a standby that has lost its parent a child.
func (p *Peer) takeIn(s *standby, m Sum) {
	if !p.leaveBy.IsZero() || p.above(s.node) || len(p.kids) >= max(2*p.slots, 1) {
		p.dropStandby(s, true)
		return
	}
	c := &child{node: s.node, offer: s.offer, up: true, takenIn: p.now, fresh: s.fresh}
	p.unrest()
	p.insertKid(c)
	p.removeStandby(s.node)
	if lost := p.kid(s.parent); lost != nil {
		lost.suspect = true
	}
	p.kidMessage(c, m)
}

// stepBack makes a child that was taken in a standby again: its parent is back.
func (p *Peer) stepBack(c *child, m Stand) {
	p.insertStandby(&standby{node: c.node, offer: c.offer, parent: m.Parent, up: true})
	i, _ := slices.BinarySearchFunc(p.kids, c.node, compareKid)
	p.kids = slices.Delete(p.kids, i, i+1)
	p.dirty = true
	if s := p.standby(c.node); !p.roomFor(c.node, m.Parent, p.slots*standbysPerSlot) {
		p.dropStandby(s, true)
	}
}

// dropStandby ends being a backup; goodbye as in dropKid.
func (p *Peer) dropStandby(s *standby, goodbye bool) {
	p.removeStandby(s.node)
	if s.up {
		p.do(Unserve{Child: s.node})
		if goodbye {
			p.send(s.node, Gone{})
		}
	}
	p.release(s.node)
}
