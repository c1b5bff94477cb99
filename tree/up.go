package tree

// Offers of nodes that stand in the tree travel along it, and so do the answers: no
// signalling is needed to move or to find a backup, and its cost does not grow with
// the room. Those of newcomers are answered by signalling wherever they end up.

// handedUp takes an offer of a child, or of one below it.
func (p *Peer) handedUp(c *child, m HandUp) {
	o := m.Offer
	if old := p.held[o.Joiner]; old != nil && o.ID <= old.offer.ID || p.underWay(old, o) {
		return
	}
	if o.Joiner == p.cfg.Self || p.isUnheard(o.Joiner) {
		return
	}
	h := &held{offer: o, from: c.node, up: true, hops: m.Hops, deepest: m.Deepest}
	if o.Purpose == ToJoin {
		if k := p.kid(o.Joiner); k != nil && o.ID <= k.offer {
			return
		}
		h.deepest = p.deepest(o)
	}
	p.remember(h)
	p.place(h)
}

// handUp gives an offer that found no place here to the parent. One that came by
// signalling goes up as well: the joiner's head was old, and above more is known.
func (p *Peer) handUp(h *held) bool {
	if h.from != "" && !h.up || h.asked || p.cfg.Root || !p.attached() || h.hops >= maxPath {
		return false
	}
	h.to, h.asked = p.parent, true
	p.send(p.parent, HandUp{Hops: h.hops + 1, Deepest: h.deepest, Offer: h.offer})
	return true
}

// refuse tells whoever brought the offer that it has found no place.
func (p *Peer) refuse(h *held) {
	switch {
	case h.from == "":
		v := Full
		if open := p.openings(); open.shut(needOf(h.offer.Reach)) {
			v, p.outOfReach = OutOfReach, p.now
		}
		p.do(Answer{Offer: h.offer, Verdict: v})
	case h.from == p.parent || p.kid(h.from) != nil:
		p.send(h.from, NoRoom{Joiner: h.offer.Joiner, Offer: h.offer.ID})
	}
	h.offer.Raw = nil
}

// accepted answers an offer: along the tree if it came so.
func (p *Peer) accepted(h *held) {
	a := Answer{Offer: h.offer, Verdict: Accepted, Path: append(hopsToNodes(p.path), p.cfg.Self)}
	if h.offer.Purpose != ToJoin {
		a.Via = h.from
	}
	p.do(a)
	h.offer.Raw, h.placed = nil, true
}

// reply passes an answer on, the way that the offer came.
func (p *Peer) reply(from NodeID, m Reply) {
	if m.Joiner == p.cfg.Self {
		if m.Offer != 0 && (m.Offer == p.seek.offer || m.Offer == p.spare.offer) {
			p.do(OpenAnswer{Raw: m.Raw})
		}
		return
	}
	if h := p.held[m.Joiner]; h != nil && h.offer.ID == m.Offer && h.to == from && h.from != "" {
		p.send(h.from, m)
	}
}

// noPlace is the word, from whom the offer was given to, that it found no place there.
func (p *Peer) noPlace(from NodeID, m NoRoom) {
	if m.Joiner == p.cfg.Self && (from == p.parent || p.isBackup(from)) && m.Offer != 0 {
		p.answered(AnswerReceived{Offer: m.Offer, From: from, Verdict: Full})
		return
	}
	h := p.held[m.Joiner]
	if h == nil || h.offer.ID != m.Offer || h.to != from || p.now.After(h.at.Add(provisional)) {
		return
	}
	if c := p.kid(from); c != nil && h.offer.Purpose != ToStand {
		c.open.none(c.needFor(h.offer.Reach), h.deepest-p.layer()-1) // until its next sum
		p.dirty = true
	}
	h.to, h.placed = "", false
	p.place(h)
}
