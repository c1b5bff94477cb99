package tree

import "time"

// Somebody may ask for slots and never come, or come and take nothing, by many names: a
// slot hogger. A node that has met some of late promises without keeping others out: its
// slots count as free until somebody has come, at most as many again as it has; whoever
// comes first has them, and what then is too much is asked to move on as always (relieve).

const (
	hogMemory = 30 * time.Second // a promise that came to nothing makes a node wary for so long
	hogFirm   = 1 * time.Second  // a wary node's promise gives way to others then
	idleMost  = 5 * time.Second  // a child may take nothing: one with a subtree asks once it is certain that we are not in it
	idleWary  = 2 * time.Second  // a wary node's
)

// wary says whether promises have come to nothing of late, or seem to.
func (p *Peer) wary() bool { return p.hogged() || p.stalest() != nil }

func (p *Peer) hogged() bool {
	return !p.lapsed.IsZero() && p.now.Sub(p.lapsed) < hogMemory
}

// lapse notes that a promise has come to nothing. Who breaks one when others have is not
// let in again for long.
func (p *Peer) lapse(node NodeID) {
	if p.now.Before(p.ownFault) {
		return
	}
	if p.hogged() {
		p.banFor(node, shunTime)
	} else {
		p.banFor(node, banTime)
	}
	p.lapsed = p.now
}

// waryFree is free while wary. A promise counts as none when it is a second old, and any that
// has not been kept yet does when others have come to nothing.
func (p *Peer) waryFree() int {
	taken := 0
	for _, c := range p.kids {
		if c.attached || !p.hogged() && p.now.Sub(c.since) < hogFirm {
			taken++
		}
	}
	free := max(p.slots-taken, 0)
	if len(p.kids) < max(2*p.slots, 1) || p.stalest() != nil {
		return free
	}
	return 0
}

// stalest is the oldest promise that gives way to others; nil: none does.
func (p *Peer) stalest() (oldest *child) {
	for _, c := range p.kids {
		if !c.attached && p.now.Sub(c.since) >= hogFirm && (oldest == nil || c.since.Before(oldest.since)) {
			oldest = c
		}
	}
	return oldest
}

// makeWay drops the oldest promise if a wary node has made as many as it may, and returns the
// offers that have waited for its joiner.
func (p *Peer) makeWay() []*held {
	c := p.stalest()
	if c == nil || len(p.kids) < max(2*p.slots, 1) {
		return nil
	}
	p.lapse(c.node)
	return p.cutKid(c, true, true)
}

// idle gives up a child that has taken nothing for so long.
func (p *Peer) idle(node NodeID, long time.Duration) {
	most := idleMost
	if p.wary() {
		most = idleWary
	}
	if c := p.kid(node); c != nil && c.up && long >= most {
		p.lapse(node)
		p.dropKid(c, true, true)
	}
}
