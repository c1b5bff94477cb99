package tree

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// considerRise looks at a new head for room that is nearer to the root than we are.
// All who see it might want it, so each tries with about the chance that there is room
// for it: not more, since much of it is gone by the time that the head tells of it.
func (p *Peer) considerRise() {
	copy(p.opens[:], p.opens[1:])
	p.opens[riseHeads-1] = p.head.Open
	// What has become free just now was somebody's place: those who have lost theirs come
	// first. So only what all of the last heads show counts.
	room, crowd := uint64(math.MaxUint64), uint64(0)
	for _, open := range p.opens {
		room = min(room, uint64(total(open[:min(len(open), max(p.layer()-1, 0))])))
	}
	for l, n := range p.head.Layers {
		if l >= p.layer() {
			crowd += uint64(n)
		}
	}
	if p.layer() < 2 || !p.steady() || p.now.Before(p.riseAt) {
		return
	}
	weight := uint64(min(p.subtree(), riseWeight)) // those who lift many with them are first
	lucky := p.rng.Uint64N(2*max(crowd, 1)) < room*weight
	switch {
	case p.risesToRoot():
		p.startMove(1, riseJitter)
	case p.calm() && p.standing().stronger(p.upper) && p.riseFails == 0:
		p.startMove(max(p.layer()/2, 1), riseJitter) // half of the way at once
	case p.calm() && (lucky || p.standing().stronger(p.upper)):
		p.startMove(p.layer()-1, riseJitter)
	}
}

// poor acts upon a link that is clearly worse than others: whoever is below it moves.
func (p *Peer) poor(node NodeID) {
	if node == "" || p.now.Before(p.poorAt.Add(poorWait)) && !p.poorAt.IsZero() {
		return
	}
	if c := p.kid(node); c != nil && c.attached && !c.leaving && p.leaveBy.IsZero() && !p.now.Before(p.quietUntil) {
		p.poorAt = p.now
		p.send(node, Move{})
	} else if node == p.parent && p.calm() {
		p.poorAt = p.now
		p.startMove(maxPath-1, riseJitter)
	}
}

// The strong rise: a full node takes one in that is much stronger than the weakest of
// its children, which then has to move, below the newcomer as a rule.

// strength is what others are told of our slots.
func (p *Peer) strength() int { return min(p.slots, maxSlots) }

// standing is what makes a node worth a place near the root.
type standing struct {
	slots int
	reach Reach
	age   int // minutes
}

// carries is how many others it can serve: behind a symmetric NAT few can reach it.
func (s standing) carries() int {
	if s.reach.NAT == NATSymmetric {
		return s.slots / 4
	}
	return s.slots
}

// stronger says that a is so much stronger than b that it is worth a change of places: it
// carries twice as many, or it has been here for far longer. Those who have stayed long
// stay longest (Sripanidkulchai et al., "The Feasibility of Supporting Large-Scale Live
// Streaming Applications with Dynamic Application End-Points", SIGCOMM 2004).
func (a standing) stronger(b standing) bool {
	x, y := a.carries(), b.carries()
	return x >= 2*y && x >= y+2 || x > 0 && x >= y && a.age >= 4*b.age && a.age >= b.age+longer
}

func (p *Peer) standing() standing { return standing{p.strength(), p.cfg.Reach, p.uptime()} }
func (c *child) standing() standing {
	return standing{c.slots, c.reach, c.age}
}
func (m Path) standing() standing   { return standing{m.Slots, m.Reach, m.Up} }
func (o *Offer) standing() standing { return standing{o.Slots, o.Reach, o.Up} }

// weakest is the child that carries least, of those that could move; among equals the
// smallest subtree. Those that keep their place are left out, unless they are asked for.
func (p *Peer) weakest(all bool) *child {
	var w *child
	for _, c := range p.kids {
		if c.attached && !c.leaving && !c.suspect && !c.displaces && c.takenIn.IsZero() && (all || !p.keepsPlace(c)) &&
			(w == nil || cmp.Or(c.standing().carries()-w.standing().carries(), c.subtree-w.subtree) < 0) {
			w = c
		}
	}
	return w
}

// canDisplace says whether an offer's joiner may take the place of a weaker child. A
// newcomer that finds no room anywhere needs only to bring more than that one.
func (p *Peer) canDisplace(h *held) bool {
	o := h.offer
	w := p.weakest(false)
	if w == nil || len(p.kids) != p.slots || !o.newcomer() && !p.isSpeaker(o.Joiner) && p.now.Before(p.quietUntil) || p.now.Before(p.displacedAt.Add(displaceWait)) ||
		p.layer()+1 > min(h.deepest, maxPath-1) || o.Avoid == p.cfg.Self || p.kid(o.Joiner) != nil || p.isBanned(o.Joiner) {
		return false
	}
	return p.mayClaim(o, w) || o.standing().stronger(w.standing()) || o.Purpose == ToJoin && o.Slots > w.slots
}

// relieve asks a child to move on when there are too many, once it is clear that they
// stay: the last that was taken in, else the weakest.
func (p *Peer) relieve() {
	n, swaps := 0, false
	var last *child
	for _, c := range p.kids {
		swaps = swaps || c.displaces
		if c.suspect || c.leaving || !c.attached {
			continue
		}
		n++
		if !c.takenIn.IsZero() && (last == nil || c.takenIn.After(last.takenIn)) {
			last = c
		}
	}
	if last == nil && (swaps || !p.now.Before(p.quietUntil)) {
		if last = p.weakest(false); last == nil {
			last = p.weakest(true)
		}
	}
	switch {
	case n > p.slots && last == nil:
		p.relieveAt = time.Time{}
	case n <= p.slots || !p.leaveBy.IsZero():
		p.relieveAt = time.Time{}
		for _, c := range p.kids {
			c.displaces = c.displaces && !c.attached
		}
	case p.relieveAt.IsZero():
		p.relieveAt = p.now.Add(relieveWait)
		if swaps && last.takenIn.IsZero() { // the strong one is here and can take it
			p.relieveAt = p.now.Add(swapWait)
		}
	case !p.now.Before(p.relieveAt):
		p.relieveAt = p.now.Add(relieveAgain)
		p.send(last.node, Move{})
	}
}

// moveDepth is how deep one that is asked to move looks for a place: first near the shallowest
// that there is by the last head, so that its subtree doesn't sink; after that anywhere.
func (p *Peer) moveDepth() int {
	open := slices.IndexFunc(p.head.Open, func(n uint32) bool { return n > 0 })
	if p.riseFails > 0 || open < 0 {
		return maxPath - 1
	}
	return min(max(open+1, p.layer())+1, maxPath-1)
}

// startMove looks once along the tree for another place, no deeper than deepest, while
// the parent goes on delivering.
func (p *Peer) startMove(deepest int, jitter time.Duration) {
	p.riseAt = p.now.Add(riseWait)
	p.seek = seek{
		active: true, along: true, once: true, deepest: deepest, avoid: p.parent, at: p.now.Add(p.jitter(jitter)),
	}
}
