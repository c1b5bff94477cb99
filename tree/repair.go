package tree

import (
	"slices"
	"time"
)

// parentMessage takes what the parent says.
func (p *Peer) parentMessage(m Message) {
	switch m := m.(type) {
	case Path:
		p.newPath(m)
	case Beat:
		p.upDelay = m.Delay
		p.raise(m.Stamp)
	case HeadDown:
		p.upDelay = m.Delay
		newer := m.Head.Seq > p.toldSeq
		p.headSeen(m.Head)
		if newer { // signalling may have been faster, but says nothing of Open
			p.toldSeq, p.head.Open = m.Head.Seq, m.Head.Open
			p.countDead(total(m.Head.Layers))
		}
		p.raise(m.Stamp)
		p.passHead()
		if newer {
			p.considerRise()
		}
	case HandDown:
		p.handedDown(m)
	case NoRoom:
		p.noPlace(p.parent, m)
	case Reply:
		p.reply(p.parent, m)
	case Move:
		if p.steady() {
			p.startMove(p.moveDepth(), repairJitter)
		}
	case Leaving:
		if !p.lost && !p.moving {
			p.moving = true
			p.startSeek(true)
			p.seek.along, p.seek.deepest = true, maxPath-1
			if p.fallBack() {
				p.seek.at = p.now.Add(p.backupWait())
			}
		}
	case Gone:
		p.cutParent(false, true)
		p.orphaned(true)
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
		p.orphaned(false)
		return
	}
	moved := len(m.Hops) != len(p.path)
	for i := 0; !moved && i < len(m.Hops); i++ {
		moved = m.Hops[i].Node != p.path[i].Node
	}
	first := !p.pathTold
	p.path, p.pathTold, p.upDelay, p.upper = m.Hops, true, m.Delay, m.standing()
	p.stamp = max(p.stamp, m.Stamp)
	p.hold()
	if b := p.backup; b != nil && !p.apart(b.path) {
		p.dropBackup(false)
	}
	if moved || first {
		p.tellPath()
		p.dirty = true
		p.lowBackup()
	}
}

// cutParent ends taking the stream from the parent; goodbye and linked as in dropKid.
// Its place on the path is kept:
// that is how the grandparent is found.
func (p *Peer) cutParent(goodbye, linked bool) {
	if p.parent == "" {
		return
	}
	old := p.parent
	p.do(Detach{Parent: old})
	if goodbye {
		p.send(old, Gone{})
	}
	p.parent, p.lost, p.starving, p.moving = "", false, false, false
	if linked {
		p.release(old)
	}
	p.ban(old)
	if p.spare.offer != 0 {
		p.dropSpare()
	}
}

// backupWait is how long the backup has to deliver before others are asked as well.
func (p *Peer) backupWait() time.Duration {
	if rtt := p.backup.rtt; rtt > 0 {
		return min(rtt+rtt/2+backupSlack, backupWait)
	}
	return backupWait
}

// orphaned begins the search for a parent: the backup first, then others.
func (p *Peer) orphaned(near bool) {
	p.hasten()
	if s := &p.seek; s.once { // there is more at stake now
		if s.cand == nil {
			p.stopSeek()
		}
		s.once = false
	}
	fell := p.fallBack()
	p.startSeek(near)
	if fell {
		p.seek.at = p.now.Add(p.backupWait() + p.jitter(repairJitter))
		if p.backup.flows {
			p.stopSeek()
			p.changeOver()
		}
	}
}

// hasten ends what a search that is on its way waits for in vain, now that the parent is lost:
// an answer that would come by it, a candidate that hangs on it, and its turn after a refusal.
func (p *Peer) hasten() {
	s := &p.seek
	if !s.active || len(p.path) == 0 {
		return
	}
	lost := p.path[len(p.path)-1].Node
	if c := s.cand; c != nil && !c.attached && slices.ContainsFunc(c.path, func(h Hop) bool { return h.Node == lost }) {
		p.dropCandidate(false)
	}
	if s.offer != 0 && s.up {
		p.offerLate()
	}
	if soon := p.now.Add(p.jitter(repairJitter)); s.cand == nil && s.offer == 0 && soon.Before(s.at) {
		s.at = soon
	}
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
	p.blame(p.path[n-1].Node)
	p.ban(p.path[n-1].Node)
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
	if p.isBackup(node) {
		p.backupFails()
		return
	}
	if node == "" || node != p.parent || p.lost {
		return
	}
	if !p.starving {
		p.giveUpAt = p.now.Add(max(giveUp-d, giveUpMin))
	}
	p.lost, p.starving = true, false
	p.unrest()
	p.orphaned(true)
}

// backupFails notes that the backup has nothing for us either.
func (p *Peer) backupFails() {
	b := p.backup
	b.badAt = p.now
	if b.flows {
		b.flows, b.until = false, p.now.Add(flowWait)
		if p.lost || p.parent == "" {
			p.startSeek(true)
		}
	}
}

// measured takes note of a round trip.
func (p *Peer) measured(node NodeID, rtt time.Duration) {
	switch {
	case node == "":
	case node == p.parent:
		p.rtt = rtt
	case p.isBackup(node):
		first := p.backup.rtt == 0
		p.backup.rtt = rtt
		if first && p.farBackup() {
			p.drawSoon()
		}
	case p.isDrawn(node):
		p.draw.cand.rtt = rtt
		p.weigh()
	case p.seek.cand != nil && p.seek.cand.node == node:
		p.seek.cand.rtt = rtt
	}
}

// delay is how long the stream takes from the root to us. Forwarding is not in it: it
// takes microseconds.
func (p *Peer) delay() time.Duration {
	if p.cfg.Root {
		return 0
	}
	return (p.upDelay + p.rtt/2).Truncate(time.Microsecond)
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
	if p.isBackup(node) {
		p.backupFails()
		return
	}
	if node == "" || node != p.parent || p.lost {
		return
	}
	p.unrest()
	if d >= p.starveSoon && !p.starving {
		p.starving, p.giveUpAt = true, p.now.Add(p.starveAfter-d)
		p.fallBack()
	}
	after := p.starveAfter
	if b := p.backup; b == nil || !b.flows {
		after -= starveAfter - starveAlone
	}
	if d >= after {
		p.lost = true
		p.orphaned(false)
	}
}

// flowing is news of a link that delivers.
func (p *Peer) flowing(node NodeID) {
	if c := p.seek.cand; c != nil && c.node == node && c.attached {
		p.settle(c)
		return
	}
	if p.isBackup(node) && p.backup.attached {
		p.backupFlows()
		return
	}
	if node == "" || node != p.parent || !p.lost && !p.starving {
		return
	}
	p.lost, p.starving = false, false // it is back: stay
	p.unban(node)
	if !p.moving {
		p.stopSeek()
		p.standDown()
	}
	p.dirty = true
}

// relocated begins anew where others seemed to have failed: it was our network, or sleep.
func (p *Peer) relocated() {
	p.ownFault, p.banned = p.now.Add(ownFaultTime), nil
	if s := &p.seek; s.active {
		s.avoid, s.rounds, s.stale = "", 0, p.now
		if s.offer == 0 && s.cand == nil {
			s.at = p.now
		}
	}
}

// blame names node in the next offer as one that does not deliver.
func (p *Peer) blame(node NodeID) {
	if !p.now.Before(p.ownFault) {
		p.seek.avoid = node
	}
}
