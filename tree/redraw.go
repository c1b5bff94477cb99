package tree

import "time"

// A backup that was found in a hurry may be far away, or stand so low that it must first
// prove that it is not below us. So another is drawn from time to time, at random, out of
// the layers above ours; the better of the two stays. And when the stream would come
// clearly faster by the backup than by the parent, it is asked for a place.

// draw is the wait for the next draw, and the drawn node while it is being weighed.
type draw struct {
	at    time.Time
	vain  int // draws in a row that brought nothing
	offer OfferID
	cand  *candidate
}

func (p *Peer) isDrawn(node NodeID) bool { return p.draw.cand != nil && p.draw.cand.node == node }

// via is how long the stream takes by a candidate.
func (c *candidate) via() time.Duration { return c.delay + c.rtt/2 }

// highEnough says that a candidate can be attached to without proof that it is not below us:
// it stands above our layer, so that as a rule its place is better than ours has been, or
// nobody hangs on us (tryAttach).
func (p *Peer) highEnough(c *candidate) bool {
	return len(p.kids) == 0 || len(c.path) <= max(p.layer(), 2)
}

// farBackup says that what the backup sends when the parent dies comes late to who plays
// half a second behind: silence is noticed after 150 ms, and then it has to be asked.
func (p *Peer) farBackup() bool { return p.backup != nil && p.backup.rtt > farTrip }

// lowBackup draws another soon if the backup is not high enough.
func (p *Peer) lowBackup() {
	if b := p.backup; b != nil && b.told && !p.highEnough(b) {
		p.drawSoon()
	}
}

// drawSoon begins anew to draw: where we or the backup stand has changed.
func (p *Peer) drawSoon() {
	p.draw.vain = 0
	p.draw.at = p.now.Add(p.drawGap())
	if b := p.backup; b != nil && b.told && !p.highEnough(b) {
		p.draw.at = p.now.Add(spareSoon + p.jitter(spareMin))
	}
}

// runDraw draws another backup when it is time, and ends the wait for one that does not come.
func (p *Peer) runDraw() {
	d := &p.draw
	if c := d.cand; c != nil && !p.now.Before(c.until) {
		p.endDraw(c.up)
	}
	b := p.backup
	if d.cand != nil || b == nil || !b.told || b.attached || p.spare.offer != 0 || p.now.Before(p.drawFrom()) || !p.steady() {
		return
	}
	if p.highEnough(b) && !b.leaving && d.vain%2 == 0 && p.rtt > 0 && p.fasterBy(b.via(), p.delay()) && !p.now.Before(p.riseAt) {
		d.at = p.now.Add(p.drawGap())
		d.vain++ // if it has no slot for us, another is drawn next
		p.startMove(p.layer(), riseJitter)
		p.seek.via = b.node
		return
	}
	deepest := p.layer()
	switch {
	case b.leaving:
		deepest = min(p.layer()+1, maxPath)
	case p.layer() < 2:
		d.at = p.now.Add(drawMax)
		return
	}
	p.askSpare(deepest)
	d.at = p.now.Add(p.drawGap())
	d.offer = p.spare.offer
}

// drawFrom is when the next draw may be made: what nobody needs waits until all is calm.
func (p *Peer) drawFrom() time.Time {
	if b := p.backup; p.highEnough(b) && !b.leaving {
		return later(p.draw.at, p.quietUntil)
	}
	return p.draw.at
}

// drawGap is longer the less came of the last draws.
func (p *Peer) drawGap() time.Duration {
	d := min(drawWait<<min(p.draw.vain, 8), drawMax)
	if b := p.backup; p.draw.vain < farDraws && b != nil && (p.farBackup() || b.told && !p.highEnough(b)) {
		d = farWait
	}
	return d/2 + p.jitter(d)
}

// fasterBy says that a is clearly less than b.
func (p *Peer) fasterBy(a, b time.Duration) bool { return a+max(drawGain, b/8) < b }

// drawn takes the answer to a draw.
func (p *Peer) drawn(a AnswerReceived) {
	p.draw.offer = 0
	p.draw.cand = &candidate{
		node: a.From, offer: a.Offer, path: nodesToHops(a.Path), stands: true, until: p.now.Add(linkWait),
	}
	p.spare = spare{}
}

// drawnUp tells the drawn node what it is drawn for.
func (p *Peer) drawnUp(c *candidate) {
	if !c.up {
		c.up, c.until = true, p.now.Add(weighWait)
		p.send(c.node, Stand{Parent: p.parent})
		p.weigh()
	}
}

func (p *Peer) drawnMessage(c *candidate, m Message) {
	p.drawnUp(c)
	switch m := m.(type) {
	case Path:
		if !p.pathFits(c.node, hopsToNodes(m.Hops)) || !p.apart(m.Hops) {
			p.endDraw(true)
			return
		}
		c.path, c.told = m.Hops, true
		c.stamp, c.delay, c.standing = max(c.stamp, m.Stamp), m.Delay, m.standing()
		p.weigh()
	case Beat:
		c.stamp, c.delay = max(c.stamp, m.Stamp), m.Delay
	case Leaving:
		p.endDraw(true)
	case Gone:
		c.up = false
		p.endDraw(false)
	}
}

// weigh keeps the better one of the backup and the drawn node, once both are known.
func (p *Peer) weigh() {
	c, b := p.draw.cand, p.backup
	if b == nil {
		p.takeDrawn()
		return
	}
	if b.attached || !c.up || !c.told || !b.leaving && (c.rtt == 0 || !p.highEnough(c)) {
		return
	}
	if p.highEnough(b) && b.rtt > 0 && !b.leaving && (c.rtt+c.rtt/4 > b.rtt && !p.fasterBy(c.via(), b.via()) || c.via() > b.via()+drawGain) {
		p.draw.vain++
		p.endDraw(true)
		return
	}
	p.draw.cand, p.draw.vain = nil, 0
	p.draw.at = p.now.Add(p.drawGap())
	c.until = time.Time{}
	p.backup = c
	p.send(b.node, Gone{})
	p.release(b.node)
	if p.needy() {
		p.fallBack()
	}
}

// endDraw gives the drawn node up; tell says that it is to hear of it.
func (p *Peer) endDraw(tell bool) {
	c := p.draw.cand
	if c == nil {
		return
	}
	p.draw.cand = nil
	switch {
	case p.kid(c.node) != nil: // it has become more than that
		return
	case !c.up:
		p.banLinkless(c)
		p.do(DropOffer{Offer: c.offer})
	case tell:
		p.send(c.node, Gone{})
	}
	p.release(c.node)
}

// takeDrawn makes the drawn node the backup: the one there was has gone.
func (p *Peer) takeDrawn() bool {
	c := p.draw.cand
	if c == nil || !c.up || !c.told {
		return false
	}
	p.draw.cand, c.until = nil, time.Time{}
	p.backup = c
	if p.needy() {
		p.fallBack()
	}
	return true
}

// moveVia is whom a move along the tree begins with: the parent, or the backup, if it still is
// the one that was faster; empty: nobody.
func (p *Peer) moveVia() NodeID {
	switch b := p.backup; {
	case p.seek.via == "":
		return p.parent
	case b != nil && b.up && b.node == p.seek.via:
		return b.node
	}
	return ""
}
