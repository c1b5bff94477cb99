package tree

import (
	"math"
	"slices"
)

// kidSum takes a child's account of its subtree. Offers that it does not reckon with
// yet are taken off.
func (p *Peer) kidSum(c *child, m Sum) {
	c.layers = m.Layers
	c.subtree = total(m.Layers)
	c.slots, c.reach, c.age = m.Slots, m.Reach, m.Up
	c.contact = m.Contact
	c.entries = m.Entries
	p.dirty = true
	if !c.ready && len(m.Open) == 0 {
		return // it has still to attach
	}
	c.open = rooms{slices.Clone(m.Open)}
	for i, open := range m.Strict {
		if len(open) > 0 {
			c.open[i+1] = slices.Clone(open)
		}
	}
	if !c.ready {
		p.makeReady(c)
		return
	}
	done := 0
	for done < len(c.handed) && c.handed[done].num <= m.Seen {
		done++
	}
	c.handed = slices.Delete(c.handed, 0, done)
	for _, h := range c.handed {
		level, open := h.level, c.open.of(h.need)
		for level < len(open) && open[level] == 0 {
			level++
		}
		c.open.take(h.need, level)
	}
}

// sum is our account of our own subtree. Joining, there is no
// room in it yet.
func (p *Peer) sum(joining bool) Sum {
	s := Sum{Slots: p.strength(), Layers: p.layers(), Reach: p.cfg.Reach, Up: p.uptime()}
	if joining {
		return s
	}
	s.Seen = p.seenNum
	open := p.openings()
	s.Open = open[anyNode]
	copy(s.Strict[:], open[notStrict:])
	if p.layer() <= entryLayer {
		s.Contact = p.cfg.Contact
	}
	if p.layer() < entryLayer {
		s.Entries = p.kidEntries()
		slices.SortStableFunc(s.Entries, func(a, b Entry) int { return a.Opening - b.Opening })
		s.Entries = s.Entries[:min(len(s.Entries), maxBelow)]
	}
	return s
}

// layers counts nodes by layer, ourselves first.
func (p *Peer) layers() []uint32 {
	out := []uint32{1}
	for _, c := range p.kids {
		if c.attached {
			out = addShifted(out, c.layers)
		}
	}
	return out
}

// openings counts free slots by level, our own first.
func (p *Peer) openings() rooms {
	var out rooms
	if !p.leaveBy.IsZero() {
		return out
	}
	for n := range needs {
		if n > anyNode && p.uniform(n) {
			continue
		}
		out[n] = []uint32{0}
		if n <= p.cfg.Reach.serves() {
			out[n][0] = uint32(min(p.free(), maxCount-1))
		}
		for _, c := range p.kids {
			if p.mayHand(c) && c.open.first(anyNode) >= 0 {
				out[n] = addShifted(out[n], c.open.of(n))
			}
		}
	}
	return out
}

// uniform says that what will do for the next lesser need will do for n, here and below.
func (p *Peer) uniform(n need) bool {
	return p.cfg.Reach.serves() != n-1 && !slices.ContainsFunc(p.kids, func(c *child) bool { return c.open[n] != nil })
}

// addShifted adds what a child counts to what its parent counts, one level down.
func addShifted(out, below []uint32) []uint32 {
	for i, n := range below[:min(len(below), maxPath-1)] {
		if i+1 == len(out) {
			out = append(out, 0)
		}
		out[i+1] = uint32(min(uint64(out[i+1])+uint64(n), maxCount-1))
	}
	return out
}

func total(counts []uint32) int {
	sum := uint64(0)
	for _, n := range counts {
		sum += uint64(n)
	}
	return int(min(sum, math.MaxInt32))
}

// subtree counts the nodes at and below this one.
func (p *Peer) subtree() int { return max(total(p.layers()), 1) }

// kidEntries lists the children that have room at or below them.
func (p *Peer) kidEntries() []Entry {
	var out []Entry
	for _, c := range p.kids {
		if level := p.opening(c, anyNode); level >= 0 && c.ready {
			out = append(out, Entry{
				Node:    c.node,
				Contact: c.contact,
				Layer:   p.layer() + 1,
				Opening: min(p.layer()+2+level, maxPath),
				Free:    total(c.open[anyNode]),
			})
		}
	}
	return out
}

// tellSum sends the parent our account: on change, but not too often, and from time
// to time.
func (p *Peer) tellSum() {
	if !p.attached() {
		return
	}
	since := p.now.Sub(p.sumAt)
	if since >= sumPeriod || p.dirty && since >= sumGap {
		p.sumAt, p.dirty = p.now, false
		p.send(p.parent, p.sum(false))
	}
}
