package tree

import "time"

// considerRise looks at a new head for room that is nearer to the root than we are.
// Of all who might take it only a few should try at a time: nobody knows how many
// places there are, and each move costs some packets twice.
func (p *Peer) considerRise() {
	best := maxPath + 1
	for _, e := range p.head.Entries {
		best = min(best, rankOpening(e.Opening))
	}
	if best >= p.layer() {
		p.roomSeen = 0
		return
	}
	if p.roomSeen++; p.roomSeen < riseHeads || !p.steady() || p.now.Before(p.riseAt) {
		return
	}
	deeper := 0
	for l, n := range p.head.Layers {
		if l > best {
			deeper += int(min(n, maxCount/maxPath))
		}
	}
	if p.rng.IntN(max(deeper, 1)) < riseCrowd {
		p.riseAt = p.now.Add(riseWait)
		p.startMove(p.layer()-1, riseJitter)
	}
}

// startMove looks once along the tree for another place, no deeper than deepest, while
// the parent goes on delivering.
func (p *Peer) startMove(deepest int, jitter time.Duration) {
	p.seek = seek{
		active: true, along: true, once: true, deepest: deepest, avoid: p.parent, at: p.now.Add(p.jitter(jitter)),
	}
}
