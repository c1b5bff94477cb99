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
	p.changeOver()
	s := &p.spare
	if s.offer != 0 && !p.now.Before(s.until) {
		p.dropSpare()
	}
	if p.backup != nil || s.offer != 0 || p.now.Before(s.at) || !p.steady() {
		return
	}
	s.offer, s.until = p.newOffer(), p.now.Add(spareWait)
	p.do(SendOffer{
		Offer: s.offer, Via: p.parent, Purpose: ToStand, Below: p.subtree(), Slots: p.strength(), Avoid: p.parent,
		Deepest: min(p.layer()+1, maxPath), // a cousin will do
	})
}

func (p *Peer) backupDeadline(earlier func(time.Time)) {
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
	}
}

// dropSpare gives up an offer, for less and less short a time.
func (p *Peer) dropSpare() {
	s := &p.spare
	if s.offer != 0 {
		p.do(DropOffer{Offer: s.offer})
	}
	d := min(spareMin<<min(s.fails, 8), spareMax)
	*s = spare{at: p.now.Add(d/2 + p.jitter(d)), fails: s.fails + 1}
}

// spareSoon begins to look for a backup, not in step with others.
func (p *Peer) spareSoon() {
	p.spare.fails = 0
	p.spare.at = p.now.Add(spareSoon + p.jitter(spareSoon))
}

// spareAnswered takes the answer to an offer ToStand.
func (p *Peer) spareAnswered(a AnswerReceived) {
	c := p.seek.cand
	if a.Verdict != Accepted || p.backup != nil || !p.mayAsk(a.From) || c != nil && c.node == a.From ||
		!p.pathFits(a.From, a.Path) || !p.apart(nodesToHops(a.Path)) {
		p.dropSpare()
		if a.Verdict == Accepted {
			p.release(a.From)
		}
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
		p.banFor(b.node, farTime)
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
	p.spareSoon()
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
	if b == nil || !b.up {
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
