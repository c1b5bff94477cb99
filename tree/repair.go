package tree

import "time"

// parentMessage takes what the parent says.
func (p *Peer) parentMessage(m Message) {
	switch m := m.(type) {
	case Path:
		p.newPath(m)
	case Beat:
		p.raise(m.Stamp)
	case HeadDown:
		p.headSeen(m.Head)
		p.raise(m.Stamp)
		p.passHead()
	case HandDown:
		p.handedDown(m)
	case Leaving:
		if !p.lost {
			p.moving = true
			p.startSeek(true)
		}
	case Gone:
		p.cutParent(false, true)
		p.startSeek(true)
	}
}

// newPath follows the parent to where it stands now.
func (p *Peer) newPath(m Path) {
	if p.frozen() {
		p.waitingPath = &m
		return
	}
	if !p.pathFits(p.parent, hopsToNodes(m.Hops)) {
		p.cutParent(true, true)
		p.startSeek(false)
		return
	}
	moved := len(m.Hops) != len(p.path)
	for i := 0; !moved && i < len(m.Hops); i++ {
		moved = m.Hops[i].Node != p.path[i].Node
	}
	first := !p.pathTold
	p.path, p.pathTold = m.Hops, true
	p.stamp = max(p.stamp, m.Stamp)
	p.hold()
	if moved || first {
		p.tellPath()
		p.dirty = true
	}
}

// cutParent ends taking the stream from the parent; goodbye and linked as in dropKid.
// Its place on the path is kept:
// that is how the grandparent is found.
func (p *Peer) cutParent(goodbye, linked bool) {
	if p.parent == "" {
		return
	}
	p.do(Detach{Parent: p.parent})
	if goodbye {
		p.send(p.parent, Gone{})
	}
	if linked {
		p.do(Release{Peer: p.parent})
	}
	p.ban(p.parent)
	p.parent, p.lost, p.moving = "", false, false
}

// startSeek begins to look for another parent. With near, the first to be asked is the
// nearest ancestor above the parent that hears offers: the grandparent, or in a deep
// tree the head of our branch.
func (p *Peer) startSeek(near bool) {
	if p.seek.active || !p.leaveBy.IsZero() {
		return
	}
	p.seek = seek{active: true, at: p.now.Add(p.jitter(repairJitter))}
	n := len(p.path)
	if n == 0 {
		return
	}
	p.seek.avoid = p.path[n-1].Node
	p.ban(p.seek.avoid)
	if near && p.pathTold && n >= 2 {
		layer := min(n-2, entryLayer)
		if a := p.path[layer]; len(a.Contact) > 0 { // else nothing can be sealed to it
			p.seek.near = a.Node
			p.seek.queue = []Entry{{Node: a.Node, Contact: a.Contact, Layer: layer}}
		}
	}
}

// silent is news of a link on which nothing comes.
func (p *Peer) silent(node NodeID, d time.Duration) {
	if c := p.seek.cand; c != nil && c.node == node {
		c.badAt = p.now
		return
	}
	if node == "" || node != p.parent || p.lost || d < p.cfg.SilentAfter {
		return
	}
	p.lost = true
	p.startSeek(true)
}

// starved is news of a node above that lives and gets nothing: the break is higher
// up and is mended there, unless that takes too long.
func (p *Peer) starved(node NodeID, d time.Duration) {
	if c := p.seek.cand; c != nil && c.node == node {
		c.badAt = p.now
		if d >= starvedWait {
			p.dropCandidate(false)
		}
		return
	}
	if node == "" || node != p.parent || p.lost || d < p.starveAfter {
		return
	}
	p.lost = true
	p.startSeek(false)
}

// flowing is news of a link that delivers.
func (p *Peer) flowing(node NodeID) {
	if c := p.seek.cand; c != nil && c.node == node && c.attached {
		p.settle(c)
		return
	}
	if node == "" || node != p.parent || !p.lost {
		return
	}
	p.lost = false // it is back: stay
	p.unban(node)
	if !p.moving {
		p.stopSeek()
	}
	p.dirty = true
}
