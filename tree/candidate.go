package tree

import (
	"slices"
	"time"
)

// candidate is a node that is willing to be the parent, now or, as a backup, later.
type candidate struct {
	node     NodeID
	offer    OfferID
	stands   bool          // a backup
	flows    bool          // a backup that was asked to deliver does
	delay    time.Duration // of the stream from the root to it
	standing standing      // as it says
	rtt      time.Duration // zero: unknown
	path     []Hop         // the candidate last
	told     bool          // path came from the candidate itself, with stamp and contacts
	stamp    uint64
	up       bool      // linked
	leaving  bool      // a backup that will go when its children have moved
	asked    bool      // for a newer stamp
	attached bool      // asked to deliver
	badAt    time.Time // last heard to be silent or starved
	until    time.Time
	shedAt   time.Time // then one without children lets its standbys go rather than wait for proof
	hedgeAt  time.Time // if its link is not up by then, one in need asks others, too
	seenNum  uint64    // as in Peer
}

// mayHedge says that more is at stake than a better place, and that c's link is not up yet.
func (p *Peer) mayHedge(c *candidate) bool {
	return p.settled && p.needy() && !c.up && !p.seek.once
}

// hedging says that one in need asks others though somebody has accepted it: the link does
// not come up, so that node has probably died.
func (p *Peer) hedging() bool {
	c := p.seek.cand
	if !p.mayHedge(c) || p.now.Before(c.hedgeAt) {
		return false
	}
	p.blame(c.node)
	return true
}

// mayAsk says whether node may be taken as a parent, as far as its name tells.
func (p *Peer) mayAsk(node NodeID) bool {
	return node != "" && node != p.cfg.Self && node != p.parent && p.kid(node) == nil && p.standby(node) == nil &&
		!p.isBanned(node)
}

// pathFits checks the path that node gave as its own: ours would be one longer.
func (p *Peer) pathFits(node NodeID, path []NodeID) bool {
	n := len(path)
	return n > 0 && n < maxPath && path[n-1] == node && !slices.Contains(path, p.cfg.Self)
}

func hopsToNodes(hops []Hop) []NodeID {
	out := make([]NodeID, len(hops))
	for i, h := range hops {
		out[i] = h.Node
	}
	return out
}

func nodesToHops(path []NodeID) []Hop {
	out := make([]Hop, len(path))
	for i, n := range path {
		out[i].Node = n
	}
	return out
}

// release lets the link with node go unless it has another use.
func (p *Peer) release(node NodeID) {
	c := p.seek.cand
	if node == p.parent || p.kid(node) != nil || p.standby(node) != nil || p.isBackup(node) || c != nil && c.node == node || p.isDrawn(node) {
		return
	}
	p.do(Release{Peer: node})
}

// candidateUp says hello, which makes the slot ours; a backup is told that it is one.
func (p *Peer) candidateUp(c *candidate) {
	if c.up {
		return
	}
	c.up = true
	c.until = p.now.Add(proofWait)
	if c == p.seek.cand && p.seek.offer != 0 {
		p.do(DropOffer{Offer: p.seek.offer})
		p.seek.offer = 0
	}
	if c.stands {
		p.tellBackup()
		p.drawSoon()
		if p.needy() {
			p.fallBack()
		}
		return
	}
	p.send(c.node, p.sum(true))
	p.tryAttach(c)
}

// tryAttach takes the stream from the candidate once it is certain that it is not
// below us: at once when nobody is.
func (p *Peer) tryAttach(c *candidate) {
	if c.attached || !c.up {
		return
	}
	if p.kid(c.node) != nil { // an idle backup that has come to us as a child meanwhile
		p.refuseCandidate(c)
		return
	}
	if !p.bound() {
		p.best = label{}
	} else if !c.told {
		return
	} else if !labelOf(c.stamp, len(c.path)-1).better(p.best) {
		if !c.asked {
			c.asked, c.shedAt = true, p.now.Add(shedWait)
			p.send(c.node, Fresh{})
		}
		return
	}
	c.attached = true
	c.until = p.now.Add(flowWait)
	if c.stands {
		p.send(c.node, p.sum(true))
	}
	p.do(Attach{Parent: c.node})
}

// mayShed says that c would be taken at once if we had no standbys: none has come as a child.
func (p *Peer) mayShed(c *candidate) bool {
	return c != nil && c.up && c.asked && !c.attached && len(p.kids) == 0 && p.needy()
}

// shed lets the standbys of an orphan go when the proof that its next parent is not below
// it takes long: they find another backup meanwhile.
func (p *Peer) shed(c *candidate) {
	if !p.mayShed(c) || p.now.Before(c.shedAt) {
		return
	}
	for len(p.standbys) > 0 {
		p.dropStandby(p.standbys[0], true)
	}
	p.tryAttach(c)
}

func (p *Peer) candidateMessage(c *candidate, m Message) {
	if !c.up { // its link is up before ours knows
		p.candidateUp(c)
	}
	switch m := m.(type) {
	case Path:
		if !p.pathFits(c.node, hopsToNodes(m.Hops)) || c.stands && !p.apart(m.Hops) {
			p.refuseCandidate(c)
			return
		}
		c.path, c.told = m.Hops, true
		c.stamp, c.delay, c.standing = max(c.stamp, m.Stamp), m.Delay, m.standing()
		if c.stands && !c.attached {
			c.until = time.Time{}
			if c == p.backup {
				p.lowBackup()
			}
		}
	case Beat:
		c.stamp, c.delay = max(c.stamp, m.Stamp), m.Delay
	case HeadDown:
		c.stamp, c.delay = max(c.stamp, m.Stamp), m.Delay
		p.headSeen(m.Head)
	case HandDown: // though we have told it that we have no room yet
		c.seenNum = max(c.seenNum, m.Num)
		p.send(c.node, NoRoom{Joiner: m.Offer.Joiner, Offer: m.Offer.ID})
	case Reply:
		p.reply(c.node, m)
	case NoRoom:
		p.noPlace(c.node, m)
		return
	case Leaving:
		if c == p.backup && !c.attached { // it is kept until another is found, or it goes
			c.leaving, p.draw.at = true, p.now
			return
		}
		p.refuseCandidate(c)
		return
	case Gone:
		if c.stands {
			p.ban(c.node)
			p.dropBackup(true)
			p.release(c.node)
			return
		}
		c.up = false // nothing to say goodbye to
		p.dropCandidate(false)
		return
	}
	if !c.stands || p.needy() || p.moving {
		p.tryAttach(c)
	}
}

// refuseCandidate gives a candidate or backup up.
func (p *Peer) refuseCandidate(c *candidate) {
	if c.stands {
		p.dropBackup(false)
	} else {
		p.dropCandidate(false)
	}
}

// judgeCandidate ends the wait for a candidate when its time is up.
func (p *Peer) judgeCandidate() {
	c := p.seek.cand
	if p.now.Before(c.until) {
		return
	}
	if c.attached && c.told && p.now.Sub(c.badAt) > badMemory {
		p.settle(c) // the hop lives; the speaker has nothing to say
		return
	}
	p.dropCandidate(false)
}

// dropCandidate turns to the next entry; down says that the link is closed already.
func (p *Peer) dropCandidate(down bool) {
	c := p.seek.cand
	p.seek.cand = nil
	p.banLinkless(c)
	if !c.up || c.attached && !p.needy() || c.attached && p.parent == "" {
		p.blame(c.node) // it is named, so that its parent hears of it
	}
	p.failed()
	if c.attached {
		p.do(Detach{Parent: c.node})
	}
	if !c.up {
		p.do(DropOffer{Offer: c.offer})
		if !down {
			p.release(c.node)
		}
	} else if !down {
		p.send(c.node, Gone{})
		p.release(c.node)
	}
	p.thaw()
}

// banLinkless bans a candidate: for long if no link could be made in linkWait (two strict
// NATs or a firewall between us, mostly), not for long if it was up, or lost at once: then two
// offers have crossed.
func (p *Peer) banLinkless(c *candidate) {
	if c.up || p.now.Before(c.until.Add(-linkWait/2)) {
		p.ban(c.node)
	} else {
		p.banFor(c.node, farTime)
	}
}

// settle makes the candidate the parent: it delivers.
func (p *Peer) settle(c *candidate) {
	p.waitingPath = nil
	if c == p.backup {
		p.stopSeek()
		p.backup = nil
	}
	p.dropLateOffers()
	p.seek = seek{}
	well := !p.needy()
	old := p.parent
	p.cutParent(true, true)
	if well {
		p.unban(old) // it has done nothing wrong
	} else if p.settled {
		p.unrest()
	}
	if p.settled {
		p.switches++
	}
	p.settled, p.outOfReach = true, time.Time{}
	p.parent = c.node
	p.starveSoon = starveSoon + p.jitter(starveSpread)
	p.starveAfter = starveAfter + p.jitter(starveJitter)
	p.path, p.pathTold, p.stamp, p.seenNum = c.path, c.told, c.stamp, c.seenNum
	p.upDelay, p.rtt = c.delay, c.rtt
	p.riseAt, p.riseFails = p.now.Add(riseWait), 0
	p.upper = c.standing
	p.hold()
	p.tellPath()
	p.dirty = true
	p.sumAt = time.Time{}
	p.endDraw(p.draw.cand != nil && p.draw.cand.up)
	if b := p.backup; b != nil {
		if p.apart(b.path) {
			p.standDown()
			p.tellBackup()
			p.drawSoon()
		} else {
			p.dropBackup(false)
		}
	}
	p.spareSoon()
}
