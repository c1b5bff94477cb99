package tree

import (
	"slices"
	"time"
)

// A backup is a node that is ready to be the parent: linked, and it lets us take the
// stream whenever we ask. It must neither be below us nor hang on the parent that we
// have. It is looked for along the tree: an offer ToStand goes up from the parent, so
// the grandparent and its other children come first.

// spare is the search for a backup.
type spare struct {
	offer OfferID   // zero: none out
	until time.Time // for its answer
	at    time.Time // not before
	fails int
}

// steady says that there is nothing more urgent than to become better.
func (p *Peer) steady() bool {
	return !p.cfg.Root && p.attached() && !p.starving && !p.moving && !p.seek.active && p.leaveBy.IsZero()
}

// unrest notes that something has died near us: those who have lost their parent move
// first, and what we would better may be better or worse when they have.
func (p *Peer) unrest() {
	if t := p.now.Add(quietTime + p.jitter(quietJitter)); t.After(p.quietUntil) {
		p.quietUntil = t
	}
}

// countDead takes the members that a head counts: when many are missing all at once,
// those below them are looking for parents.
func (p *Peer) countDead(members int) {
	if p.members-members > p.members/diedShare+1 {
		p.unrest()
	}
	p.members = members
}

// calm says that moves which nobody needs may be made.
func (p *Peer) calm() bool { return p.steady() && !p.now.Before(p.quietUntil) }

// runBackup looks for a backup while there is none, and changes over to it when its
// time has come.
func (p *Peer) runBackup() {
	if b := p.backup; b != nil && !b.until.IsZero() && !p.now.Before(b.until) {
		if b.attached && p.now.Sub(b.badAt) > badMemory {
			p.backupFlows() // the hop lives; the speaker has nothing to say
		} else {
			p.dropBackup(false)
		}
	}
	p.shed(p.seek.cand)
	p.shed(p.backup)
	p.changeOver()
	p.runDraw()
	s := &p.spare
	if s.offer != 0 && !p.now.Before(s.until) {
		p.dropSpare()
	}
	if p.backup != nil || s.offer != 0 || p.now.Before(s.at) || !p.steady() {
		return
	}
	deepest := min(p.layer()+1, maxPath) // a cousin will do
	if s.fails == 0 && p.layer() >= 2 && len(p.kids) > 0 {
		deepest = p.layer() // an uncle: no proof is needed that it is not below us (fresh.go)
	}
	p.askSpare(deepest)
}

// askSpare sends an offer ToStand along the tree.
func (p *Peer) askSpare(deepest int) {
	p.spare.offer, p.spare.until = p.newOffer(), p.now.Add(spareWait)
	p.do(SendOffer{
		Offer: p.spare.offer, Via: p.parent, Purpose: ToStand, Below: p.subtree(), Slots: p.strength(), Avoid: p.parent,
		Reach: p.cfg.Reach, Up: p.uptime(), Deepest: deepest,
	})
}

func (p *Peer) backupDeadline(earlier func(time.Time)) {
	for _, c := range [2]*candidate{p.seek.cand, p.backup} {
		if p.mayShed(c) {
			earlier(c.shedAt)
		}
	}
	if b := p.backup; b != nil {
		earlier(b.until)
		if b.flows {
			earlier(p.giveUpAt)
		}
	}
	switch s := &p.spare; {
	case s.offer != 0:
		earlier(s.until)
	case p.backup == nil && p.steady():
		earlier(s.at)
	case p.draw.cand != nil:
		earlier(p.draw.cand.until)
	case p.backup != nil && p.backup.told && !p.backup.attached && p.steady():
		earlier(p.drawFrom())
	}
}

// dropSpare gives up an offer, for less and less short a time.
func (p *Peer) dropSpare() {
	s := &p.spare
	if s.offer != 0 {
		p.do(DropOffer{Offer: s.offer})
	}
	if p.draw.offer != 0 && p.draw.offer == s.offer {
		p.draw.offer = 0
		p.draw.vain++
		*s = spare{}
		return
	}
	d := min(spareMin<<min(s.fails, 8), spareMax)
	*s = spare{at: p.now.Add(d/2 + p.jitter(d)), fails: s.fails + 1}
}

// spareSoon begins to look for a backup, not in step with others.
func (p *Peer) spareSoon() {
	p.spare.fails = 0
	wait := spareSoon
	if p.switches > 0 { // the crowd of newcomers is not about
		wait = spareAgain
	}
	p.spare.at = p.now.Add(wait + p.jitter(wait))
}

// spareAnswered takes the answer to an offer ToStand.
func (p *Peer) spareAnswered(a AnswerReceived) {
	c := p.seek.cand
	drawn := p.draw.offer == a.Offer && p.backup != nil
	if a.Verdict != Accepted || p.backup != nil && !drawn || p.isBackup(a.From) || !p.mayAsk(a.From) || c != nil && c.node == a.From ||
		!p.pathFits(a.From, a.Path) || !p.apart(nodesToHops(a.Path)) {
		p.dropSpare()
		if a.Verdict == Accepted {
			p.release(a.From)
		}
		return
	}
	if drawn {
		p.drawn(a)
		return
	}
	p.backup = &candidate{
		node: a.From, offer: a.Offer, path: nodesToHops(a.Path), stands: true, until: p.now.Add(linkWait),
	}
	p.spare = spare{}
}

// apart says that a node of that path does not hang on our parent. Everything hangs
// on the root.
func (p *Peer) apart(path []Hop) bool {
	return len(p.path) <= 1 || !slices.ContainsFunc(path, func(h Hop) bool { return h.Node == p.parent })
}

// isBackup says whether node is our backup.
func (p *Peer) isBackup(node NodeID) bool { return p.backup != nil && p.backup.node == node }

// dropBackup gives the backup up and looks for another; down says that its link is
// closed already.
func (p *Peer) dropBackup(down bool) {
	b := p.backup
	p.backup = nil
	if !b.up {
		p.banLinkless(b)
	}
	if b.attached {
		p.do(Detach{Parent: b.node})
	}
	switch {
	case b.up && !down:
		p.send(b.node, Gone{})
		p.release(b.node)
	case !b.up:
		p.do(DropOffer{Offer: b.offer})
		p.release(b.node)
	}
	if !p.takeDrawn() {
		p.spareSoon()
	}
	p.thaw()
	if b.attached && p.needy() && !p.seek.active {
		p.startSeek(true)
	}
}

// tellBackup says that we stand by, and with whom: it takes one at most of each parent.
func (p *Peer) tellBackup() {
	if b := p.backup; b != nil && b.up && !b.attached && p.parent != "" {
		p.send(b.node, Stand{Parent: p.parent})
	}
}

// needy says that nothing comes from the parent.
func (p *Peer) needy() bool { return p.parent == "" || p.lost || p.starving }

// fallBack takes the stream from the backup as well, at once, and says whether it
// could ask.
func (p *Peer) fallBack() bool {
	b := p.backup
	if b == nil || !b.up || b.leaving {
		return false
	}
	p.tryAttach(b)
	return b.attached
}

// backupFlows is the moment at which the backup delivers.
func (p *Peer) backupFlows() {
	p.backup.flows, p.backup.until = true, time.Time{}
	if p.seek.active && !p.moving {
		p.stopSeek()
	}
	p.changeOver()
}

// changeOver makes the backup the parent, if it delivers and the old one has had its
// time to come back.
func (p *Peer) changeOver() {
	b := p.backup
	if b != nil && b.flows && (p.parent == "" || p.moving || p.needy() && !p.now.Before(p.giveUpAt)) {
		p.settle(b)
	}
}

// standDown stops taking the stream from the backup: the parent delivers again, or
// another does.
func (p *Peer) standDown() {
	b := p.backup
	if b == nil {
		return
	}
	b.asked = false
	if !b.attached {
		return
	}
	b.attached, b.flows, b.until = false, false, time.Time{}
	p.do(Detach{Parent: b.node})
	p.tellBackup()
	p.thaw()
}

// thaw applies what the parent said while a comparison was going on.
func (p *Peer) thaw() {
	if w := p.waitingPath; w != nil && !p.frozen() {
		p.waitingPath = nil
		if p.parent != "" {
			p.newPath(*w)
		}
	}
}
