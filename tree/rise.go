package tree

import "time"

// considerRise looks at a new head for room that is nearer to the root than we are.
// All who see it might want it, so each tries with about the chance that there is room
// for it: not more, since much of it is gone by the time that the head tells of it.
func (p *Peer) considerRise() {
	room, crowd := uint64(0), uint64(0)
	for l, n := range p.head.Open {
		if l+1 < p.layer() {
			room += uint64(n)
		}
	}
	for l, n := range p.head.Layers {
		if l >= p.layer() {
			crowd += uint64(n)
		}
	}
	if room == 0 {
		p.roomSeen = 0
	} else {
		p.roomSeen++
	}
	if p.layer() < 2 || !p.steady() || p.now.Before(p.riseAt) {
		return
	}
	weight := uint64(min(p.subtree(), riseWeight)) // those who lift many with them are first
	lucky := p.rng.Uint64N(4*max(crowd, 1)) < room*weight
	if p.roomSeen >= riseHeads && lucky || stronger(p.strength(), p.upSlots) {
		p.startMove(p.layer()-1, riseJitter)
	}
}

// poor acts upon a link that is clearly worse than others: whoever is below it moves.
func (p *Peer) poor(node NodeID) {
	if node == "" || p.now.Before(p.poorAt.Add(poorWait)) && !p.poorAt.IsZero() {
		return
	}
	if c := p.kid(node); c != nil && c.attached && !c.leaving && p.leaveBy.IsZero() {
		p.poorAt = p.now
		p.send(node, Move{})
	} else if node == p.parent && p.steady() {
		p.poorAt = p.now
		p.startMove(maxPath-1, riseJitter)
	}
}

// The strong rise: a full node takes one in that is much stronger than the weakest of
// its children, which then has to move, below the newcomer as a rule.

// strength is what others are told of our slots.
func (p *Peer) strength() int { return min(p.slots, maxSlots) }

// stronger says that a is so much stronger than b that it is worth a change of places.
func stronger(a, b int) bool { return a >= 2*b && a >= b+2 }

// weakest is the child with the fewest slots, of those that could move; among equals
// the smallest subtree.
func (p *Peer) weakest() *child {
	var w *child
	for _, c := range p.kids {
		if c.attached && !c.leaving && !c.suspect && !c.displaces && c.takenIn.IsZero() &&
			(w == nil || c.slots < w.slots || c.slots == w.slots && c.subtree < w.subtree) {
			w = c
		}
	}
	return w
}

// canDisplace says whether an offer's joiner may take the place of a weaker child. A
// newcomer that finds no room anywhere needs only to bring more than that one.
func (p *Peer) canDisplace(h *held) bool {
	o := h.offer
	w := p.weakest()
	if w == nil || len(p.kids) != p.slots || p.now.Before(p.displacedAt.Add(displaceWait)) ||
		p.layer()+1 > min(h.deepest, maxPath-1) || o.Avoid == p.cfg.Self || p.kid(o.Joiner) != nil {
		return false
	}
	return stronger(o.Slots, w.slots) || o.Purpose == ToJoin && o.Slots > w.slots
}

// relieve asks a child to move on when there are too many, once it is clear that they
// stay: the last that was taken in, else the weakest.
func (p *Peer) relieve() {
	n := 0
	var last *child
	for _, c := range p.kids {
		if c.suspect || c.leaving || !c.attached {
			continue
		}
		n++
		if !c.takenIn.IsZero() && (last == nil || c.takenIn.After(last.takenIn)) {
			last = c
		}
	}
	if last == nil {
		last = p.weakest()
	}
	switch {
	case n <= p.slots || last == nil || !p.leaveBy.IsZero():
		p.relieveAt = time.Time{}
		for _, c := range p.kids {
			c.displaces = c.displaces && !c.attached
		}
	case p.relieveAt.IsZero():
		p.relieveAt = p.now.Add(relieveWait)
	case !p.now.Before(p.relieveAt):
		p.relieveAt = p.now.Add(relieveAgain)
		p.send(last.node, Move{})
	}
}

// startMove looks once along the tree for another place, no deeper than deepest, while
// the parent goes on delivering.
func (p *Peer) startMove(deepest int, jitter time.Duration) {
	p.riseAt = p.now.Add(riseWait)
	p.seek = seek{
		active: true, along: true, once: true, deepest: deepest, avoid: p.parent, at: p.now.Add(p.jitter(jitter)),
	}
}
