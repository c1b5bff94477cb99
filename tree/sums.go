package tree

import (
	"math"
	"slices"
)

// kidSum takes a child's account of its subtree. Offers that it does not reckon with
// yet are taken off.
func (p *Peer) kidSum(c *child, m Sum) {
	c.layers = m.Layers
	c.open = slices.Clone(m.Open)
	c.subtree = total(m.Layers)
	c.slots = m.Slots
	c.contact = m.Contact
	c.entries = m.Entries
	done := 0
	for done < len(c.handed) && c.handed[done].num <= m.Seen {
		done++
	}
	c.handed = slices.Delete(c.handed, 0, done)
	for _, h := range c.handed {
		level := h.level
		for level < len(c.open) && c.open[level] == 0 {
			level++
		}
		if level < len(c.open) {
			c.open[level]--
		}
	}
	p.dirty = true
}

// sum is our account of our own subtree. Joining, there is no
// room in it yet.
func (p *Peer) sum(joining bool) Sum {
	s := Sum{Slots: p.strength(), Layers: p.layers()}
	if joining {
		return s
	}
	s.Seen = p.seenNum
	s.Open = p.openings()
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
func (p *Peer) openings() []uint32 {
	if !p.leaveBy.IsZero() {
		return nil
	}
	out := []uint32{uint32(min(p.free(), maxCount-1))}
	for _, c := range p.kids {
		if p.opening(c) >= 0 {
			out = addShifted(out, c.open)
		}
	}
	return out
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
		if level := p.opening(c); level >= 0 {
			out = append(out, Entry{
				Node:    c.node,
				Contact: c.contact,
				Layer:   p.layer() + 1,
				Opening: min(p.layer()+2+level, maxPath),
				Free:    total(c.open),
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
