package tree

import (
	"cmp"
	"slices"
	"strings"
)

// tellHead publishes the root's head: every two seconds, and soon after the openings
// near the top have changed.
func (p *Peer) tellHead() {
	if p.dirty {
		p.dirty = false
		if !sameOpenings(p.headEntries(), p.head.Entries) {
			p.headDue = p.headAt.Add(headGap)
		}
	}
	if !p.now.Before(p.headDue) {
		p.publish()
	}
	if p.head.Seq != p.downSeq && !p.now.Before(p.downAt.Add(headPeriod)) {
		p.passHead()
	}
}

func (p *Peer) publish() {
	p.stamp++
	p.headAt = p.now
	p.headDue = p.now.Add(headPeriod)
	layers, open := p.layers(), p.openings()[anyNode]
	p.head = Head{
		Stream:  p.cfg.Stream,
		Seq:     p.stamp,
		Entries: p.headEntries(),
		Layers:  layers,
		Open:    open,
		Free:    uint32(total(open)),
	}
	p.do(PublishHead{Head: p.head})
}

// headEntries lists the nodes near the top that take offers, the root always among
// them: the shallowest opening first, among equals the deeper node, to spare the root.
func (p *Peer) headEntries() []Entry {
	out := p.kidEntries()
	for _, c := range p.kids {
		if p.opening(c, anyNode) < 0 {
			continue
		}
		for _, e := range c.entries {
			if e.Free > 0 && e.Opening > 0 && e.Layer == entryLayer && e.Node != p.cfg.Self {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(a.Opening-b.Opening, b.Layer-a.Layer, strings.Compare(string(a.Node), string(b.Node)))
	})
	self := Entry{Node: p.cfg.Self, Contact: p.cfg.Contact}
	open := p.openings()
	if level := open.first(anyNode); level >= 0 {
		self.Opening, self.Free = min(level+1, maxPath), total(open[anyNode])
	}
	out = out[:min(len(out), maxEntries-1)]
	at := 0
	for at < len(out) && rankOpening(out[at].Opening) <= rankOpening(self.Opening) {
		at++
	}
	return slices.Insert(out, at, self)
}

func sameOpenings(a, b []Entry) bool {
	return slices.EqualFunc(a, b, func(x, y Entry) bool {
		return x.Node == y.Node && x.Opening == y.Opening
	})
}

// passHead gives the children the newest head. Only the root's pace counts: it sends
// one in two seconds.
func (p *Peer) passHead() {
	if p.head.Seq == 0 || !p.attached() || p.now.Before(p.downAt.Add(headPeriod/2)) {
		return
	}
	p.downAt, p.downSeq = p.now, p.head.Seq
	head := p.headDown()
	// Below the entries they are wanted when all else is lost: who has some takes them along
	// less often, and who got none passes none on.
	switch {
	case p.bare || p.layer() == entryLayer && p.now.Before(p.intoDeep.Add(deepHeads*headPeriod)):
		head.Entries = nil
	case p.layer() == entryLayer:
		p.intoDeep = p.now
	}
	for _, c := range p.kids {
		if c.attached {
			c.fresh = false
			p.send(c.node, HeadDown{Stamp: p.stamp, Delay: p.delay(), Head: head})
		}
	}
	for _, s := range p.standbys {
		if s.up {
			s.fresh = false
			p.send(s.node, p.beat())
		}
	}
}

// headDown is the head as it goes down the tree: to those who may have to look for a
// parent one day, half of the entries will do.
func (p *Peer) headDown() Head {
	h := p.head
	if len(h.Entries) <= downEntries {
		return h
	}
	h.Entries = slices.Clone(h.Entries[:downEntries])
	if !slices.ContainsFunc(h.Entries, func(e Entry) bool { return e.Layer == 0 }) {
		for _, e := range p.head.Entries {
			if e.Layer == 0 {
				h.Entries[downEntries-1] = e
			}
		}
	}
	return h
}

// tellWatch says what this node must hear from signalling, when that has changed.
// Whoever may become an entry listens before the head says so: it would know too late.
func (p *Peer) tellWatch() {
	falling := p.backup != nil && p.backup.attached // it will be over before a topic is joined or left
	w := Watch{Heads: p.seek.active && !p.seek.once && !falling && p.leaveBy.IsZero()}
	if p.attached() || falling { // also while leaving: a quick no is better than none
		w.Offers = p.cfg.Root || p.layer() <= entryLayer ||
			slices.ContainsFunc(p.head.Entries, func(e Entry) bool { return e.Node == p.cfg.Self })
	}
	if w != p.watch {
		p.watch = w
		p.do(w)
	}
}
