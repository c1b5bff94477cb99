package treesim

import (
	"maps"
	"slices"
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
	for _, b := range slices.Sorted(maps.Keys(n.links)) {
		s.at(s.now+linkDeadline, item{kind: disconnect, node: b, from: i, link: n.links[b]})
	}
	s.gone(i)
}

// gone closes a node's account; with churn another comes in its place.
func (s *sim) gone(i int32) {
	n := s.nodes[i]
	s.stopWatching(n)
	if s.cfg.Stay == 0 {
		return
	}
	slots, err := s.cfg.Mix.draw(s.rng, s.cfg.Slots)
	if err != nil {
		panic(err) // it was drawn from before
	}
	j := int32(len(s.nodes))
	m := &node{id: nodeID(j), slots: slotsOf(slots), arrived: s.now}
	if m.peer, err = tree.New(tree.Config{
		Self: m.id, Slots: slots, Seed: s.cfg.Seed, Contact: make([]byte, 32),
	}); err != nil {
		panic(err) // as above
	}
	s.nodes = append(s.nodes, m)
	s.at(s.now, item{kind: arrive, node: j})
	s.at(s.now+s.stay(), item{kind: depart, node: j})
	n.links, n.serves, n.takes, n.offers = nil, nil, nil, nil
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
	if !s.parted {
		return
	}
	s.killed = s.now
	s.at(s.now+s.cfg.CutFor, item{kind: parted})
	for i := range s.nodes {
		n := s.nodes[i]
		for _, b := range slices.Sorted(maps.Keys(n.links)) {
			if s.cut(int32(i), b) {
				s.at(s.now+linkDeadline, item{kind: sever, node: b, from: int32(i), link: n.links[b]})
			}
		}
	}
}
