package treesim

import (
	"time"

	"github.com/watergy/waterfall/tree"
)

// playout is how much later than at once a packet may come (the figures' 500 ms).
const playout = 500 * time.Millisecond

// stay draws how long a node stays.
func (s *sim) stay() time.Duration {
	return time.Duration(s.rng.ExpFloat64() * float64(s.cfg.Stay))
}

// depart lets a node go: politely, or by dying.
func (s *sim) depart(i int32) {
	switch n := s.nodes[i]; {
	case !n.alive:
	case s.rng.Float64() < s.cfg.Dying:
		s.killed = s.now
		s.die(i)
	default:
		s.step(i, tree.Leave{})
	}
}

// die ends a node without a word; its links close after a while.
func (s *sim) die(i int32) {
	n := s.nodes[i]
	n.alive = false
	n.version++
	for _, t := range n.takes {
		s.nodes[t.from].takers--
	}
	for _, e := range n.links {
		s.at(s.now+linkDeadline, item{kind: disconnect, node: e.peer, from: i, link: e.link})
	}
	s.gone(i)
}

// gone closes a node's account; with churn another comes in its place.
func (s *sim) gone(i int32) {
	n := s.nodes[i]
	s.lost++
	s.stopWatching(n)
	if s.cfg.Stay == 0 {
		return
	}
	slots, err := s.cfg.Mix.draw(s.rng, s.cfg.Slots)
	if err != nil {
		panic(err) // it was drawn from before
	}
	region, access := settle(s.rng)
	m, err := s.add(slots, region, access)
	if err != nil {
		panic(err) // as above
	}
	j := index(m.id)
	m.arrived = s.now
	s.at(s.now, item{kind: arrive, node: j})
	s.at(s.now+s.stay(), item{kind: depart, node: j})
	n.peer, n.links, n.serves, n.takes, n.offers = nil, nil, nil, nil, nil
}

// ended ends a time without media.
func (s *sim) ended(n *node) {
	if n.since != 0 {
		s.res.Late += max(0, s.now-n.since-playout)
	}
	n.since, n.orphan = 0, false
}

// stopWatching counts what a node has seen of the stream.
func (s *sim) stopWatching(n *node) {
	if !n.joined {
		return
	}
	s.res.Watched += s.now - n.from
	if n.since != 0 {
		s.res.Late += max(0, s.now-n.since-playout)
	}
}

// cut says whether a partition lies between two nodes.
func (s *sim) cut(a, b int32) bool { return s.parted && s.nodes[a].far != s.nodes[b].far }

// part begins a partition, or heals it. Links across it close after a while.
func (s *sim) part() {
	s.parted = !s.parted
	s.version++
	if !s.parted {
		return
	}
	s.killed = s.now
	s.at(s.now+s.cfg.CutFor, item{kind: parted})
	for _, i := range s.alive() {
		n := s.nodes[i]
		for _, e := range n.links {
			if s.cut(i, e.peer) {
				s.at(s.now+linkDeadline, item{kind: sever, node: e.peer, from: i, link: e.link})
			}
		}
	}
}
