package tree

// A path alone does not rule out loops: while two orphans look for parents at the
// same time, each may be told a path that the other's move has made untrue. So the
// root's numbers (stamps) flow down the tree, and a node with children takes a new
// parent only when that one stands better than it has ever stood itself. What is
// below a node can't: it has its numbers through the node. This is the feasibility
// condition of DUAL (Garcia-Luna-Aceves, 1993) and Babel (RFC 8966, section 2.4),
// with sequence numbers as in Babel; docs/tree.md has the argument.

// label says how well a node stands: a newer stamp is better, then a higher place.
// The zero label is worse than any.
type label struct {
	stamp  uint64
	height int // maxPath − layer
}

func (a label) better(b label) bool {
	return a.stamp > b.stamp || a.stamp == b.stamp && a.height > b.height
}

func labelOf(stamp uint64, layer int) label { return label{stamp, maxPath - layer} }

// hold notes where this node stands now.
func (p *Peer) hold() {
	if l := labelOf(p.stamp, p.layer()); l.better(p.best) {
		p.best = l
	}
}

// raise takes over a stamp of the parent and passes it to the children that asked, and to all
// standbys: if theirs got newer than ours, they would have to ask for proof when their parent dies.
// So that it comes to both at about the same time, the root tells all of its children.
func (p *Peer) raise(stamp uint64) {
	if stamp <= p.stamp || p.frozen() {
		return
	}
	p.stamp = stamp
	p.hold()
	for _, c := range p.kids {
		if (c.fresh || p.cfg.Root) && c.up {
			c.fresh = false
			p.send(c.node, p.beat())
		}
	}
	for _, s := range p.standbys {
		if s.up {
			s.fresh = false
			p.send(s.node, p.beat())
		}
	}
}

func (p *Peer) beat() Beat { return Beat{Stamp: p.stamp, Delay: p.delay()} }

// frozen says that a candidate's place is being compared with ours, or has been and it
// does not deliver yet: ours must not get better meanwhile.
func (p *Peer) frozen() bool {
	return p.seek.cand != nil && p.seek.cand.up || p.backup != nil && p.backup.attached
}

// wantFresh gets a newer stamp for child c: from the root itself, or from above.
func (p *Peer) wantFresh(c *child) {
	c.fresh = true
	p.wantStamp()
}

// wantStamp gets a newer stamp for those below that want one.
func (p *Peer) wantStamp() { p.askDue = true }

// askFresh passes the children's wish for a newer stamp upwards, many as one; the root fulfils it.
func (p *Peer) askFresh() {
	switch {
	case !p.askDue || !p.attached() || p.now.Before(p.askedAt.Add(freshGap)):
		return
	case p.cfg.Root:
		p.raise(p.stamp + 1)
	default:
		p.send(p.parent, Fresh{})
	}
	p.askDue, p.askedAt = false, p.now
}
