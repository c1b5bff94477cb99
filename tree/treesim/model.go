package treesim

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/watergy/waterfall/tree"
)

// Figures of the model.
//
// Delay between two nodes is fixed (world.go). Signalling is one gossip delivery as measured among 1,000 libp2p nodes at 25 ms one
// way: p50 96 ms, p99 143 ms. A link takes three round trips after the answer, and
// the first packet one more: as measured with pion at 100 ms round trip, set-up tuned.
const (
	medianSignal = 96 * time.Millisecond
	sigmaSignal  = 0.171
	dhtGet       = 510 * time.Millisecond // of the newest head, by one who begins to watch
	linkTrips    = 3

	mediaTick    = 50 * time.Millisecond  // how often the flow of media is looked at
	silentFrom   = 150 * time.Millisecond // the link layer's first word of silence
	linkDeadline = 5 * time.Second        // until a link to a dead node is closed (ICE)
	calmTime     = 5 * time.Second        // after a death, in which only orphans should move
)

// offerBytes stands for a joiner's link description.
var offerBytes = make([]byte, 230)

func (s *sim) signal() time.Duration {
	return time.Duration(float64(medianSignal) * math.Exp(sigmaSignal*s.rng.NormFloat64()))
}

// answered brings an answer; if the joiner goes along, a link is made.
func (s *sim) answered(it item) {
	n := s.nodes[it.node]
	if !n.alive {
		return
	}
	ev := it.ev.(tree.AnswerReceived)
	if ev.Verdict != tree.Accepted && !n.joined {
		s.res.Refused++
	}
	s.step(it.node, ev)
	t := n.offers[ev.Offer]
	if ev.Verdict != tree.Accepted || t == nil {
		return
	}
	if n.linkTo(it.from) != nil {
		delete(n.offers, ev.Offer)
		s.step(it.node, tree.LinkUp{Peer: ev.From})
		return
	}
	if s.nodes[it.from].alive && !s.cut(it.node, it.from) {
		s.at(s.now+linkTrips*s.rtt(it.node, it.from), item{kind: connect, node: it.node, from: it.from, try: t, ev: ev})
	}
}

// connect is the moment that a link is up at the joiner; the acceptor, being the DTLS
// client, knows at the same time within half a round trip.
func (s *sim) connect(it item) {
	a, b := s.nodes[it.node], s.nodes[it.from]
	if it.try.dropped || !a.alive || !b.alive || a.linkTo(it.from) != nil {
		return
	}
	delete(a.offers, it.ev.(tree.AnswerReceived).Offer)
	l := &link{}
	for _, end := range [2]struct {
		n    *node
		peer int32
	}{{a, it.from}, {b, it.node}} {
		end.n.links = append(end.n.links, linkEnd{end.peer, l})
		end.n.version++
	}
	rtt := s.rtt(it.node, it.from)
	s.step(it.from, tree.LinkUp{Peer: a.id})
	s.step(it.node, tree.Measured{Peer: b.id, RTT: rtt})
	s.step(it.node, tree.LinkUp{Peer: b.id})
}

// ticket is a Reply's Raw: the number of what the joiner will find in it.
func (s *sim) ticket(a tree.AnswerReceived) []byte {
	s.tickets++
	s.replies[s.tickets] = a
	return binary.BigEndian.AppendUint32(nil, s.tickets)
}

func (s *sim) sendControl(from, to int32, m tree.Message) {
	b := tree.Marshal(tree.StreamID{}, m)
	s.mixAction(4, s.nodes[to].id, uint64(len(b)))
	s.mixBytes(b)
	s.res.Messages++
	s.res.Bytes += uint64(len(b))
	l := s.nodes[from].linkTo(to)
	if l == nil || l.closed {
		return
	}
	if s.cfg.Wire {
		_, out, err := tree.Unmarshal(b)
		if err != nil {
			panic(err) // a Peer made what a Peer can't read
		}
		m = out
	}
	s.at(s.now+s.oneWay(from, to), item{kind: control, node: to, from: from, link: l,
		ev: tree.MessageReceived{From: s.nodes[from].id, Message: m}})
}

// release closes the link of a with b: there is one stream only. The other end hears
// of it after what is on its way.
func (s *sim) release(a, b int32) {
	l := s.nodes[a].linkTo(b)
	if l == nil {
		return
	}
	s.nodes[a].unlink(b)
	s.nodes[a].version++
	l.closed = true
	s.at(s.now+s.oneWay(a, b), item{kind: disconnect, node: b, from: a, link: l})
}

// reaches says whether the stream as taken at from comes from to.
func (s *sim) reaches(from, to int32, depth int) bool {
	if from == to || depth > 256 {
		return true
	}
	takes := s.nodes[from].takes
	for j := range takes {
		if t := &takes[j]; s.delivers(from, t) && s.reaches(t.from, to, depth+1) {
			return true
		}
	}
	return false
}

// delivers says that the one a takes from serves it and can reach it.
func (s *sim) delivers(a int32, t *take) bool {
	m := s.nodes[t.from]
	if v := m.version + s.version; t.version != v {
		t.version = v
		t.good = m.alive && !m.liar && m.linkTo(a) != nil && !s.cut(a, t.from) && slices.Contains(m.serves, a)
	}
	return t.good
}

// flows says whether media comes to i all the way from the speaker.
func (s *sim) flows(i int32) bool {
	n := s.nodes[i]
	if n.memo == s.round {
		return n.flowing
	}
	n.memo, n.flowing = s.round, i == 0 && n.alive
	for j := range n.takes {
		if t := &n.takes[j]; s.delivers(i, t) && s.flows(t.from) {
			n.flowing = true
			break
		}
	}
	return n.flowing
}

// firstPacket is one round trip after an Attach.
func (s *sim) firstPacket(i, from int32) {
	n := s.nodes[i]
	if !n.alive {
		return
	}
	s.round++
	for j := range n.takes {
		if t := &n.takes[j]; t.from == from && !t.flowing && s.delivers(i, t) && s.flows(from) {
			s.flowingNow(i, t)
			return
		}
	}
}

func (s *sim) flowingNow(i int32, t *take) {
	n := s.nodes[i]
	t.flowing, t.last = true, s.now
	from := t.from
	switch {
	case !n.joined:
		n.joined, n.from = true, s.now
		s.res.Join = append(s.res.Join, s.now-n.arrived)
		if n.crowd {
			s.res.Flash = append(s.res.Flash, s.now-n.arrived)
		}
		s.res.LastIn = max(s.res.LastIn, s.now)
	case n.since != 0 && n.orphan:
		s.res.Orphans = append(s.res.Orphans, s.now-n.since)
	case n.since != 0:
		s.res.Below = append(s.res.Below, s.now-n.since)
	}
	s.ended(n)
	s.step(i, tree.Flowing{Peer: s.nodes[from].id})
}

// alive lists those who have come and not gone, in the order of their coming. It may hold
// some that go while it is walked.
func (s *sim) alive() []int32 {
	if 2*s.lost > len(s.here) {
		s.here = slices.DeleteFunc(slices.Clone(s.here), func(i int32) bool { return !s.nodes[i].alive })
		s.lost = 0
	}
	return s.here
}

// media looks at every node's sources, as the link layer does.
func (s *sim) media() {
	s.round++
	if n := s.nodes[s.strong]; s.strong > 0 && n.joined && s.res.StrongIn == 0 && n.peer.View().Layer == 1 {
		s.res.StrongIn = s.now - n.arrived
	}
	for _, i := range s.alive() {
		n := s.nodes[i]
		if !n.alive || i == 0 {
			continue
		}
		flows := s.flows(i)
		if n.joined && !flows && n.since == 0 {
			n.since = s.now
			if s.killed != 0 && s.now-s.killed <= mediaTick {
				n.since = s.killed
			}
			n.orphan = !slices.ContainsFunc(n.takes, func(t take) bool { return s.nodes[t.from].alive })
		}
		for _, from := range sources(n.takes) {
			s.source(i, from)
		}
	}
}

// sources copies whom a node takes from: a step may change it.
func sources(takes []take) (out [3]int32) {
	out = [3]int32{-1, -1, -1}
	for i := range takes[:min(len(takes), 3)] {
		out[i] = takes[i].from
	}
	return out
}

func (s *sim) source(i, from int32) {
	n := s.nodes[i]
	j := slices.IndexFunc(n.takes, func(t take) bool { return t.from == from })
	if from < 0 || j < 0 {
		return
	}
	t := &n.takes[j]
	id := s.nodes[from].id
	switch {
	case !s.delivers(i, t):
		t.flowing = false
		if d := s.now - t.last; d >= silentFrom {
			s.step(i, tree.Silent{Peer: id, For: d})
		}
	case !s.flows(from):
		t.flowing = false
		t.last = s.now
		if above := s.nodes[from].since; above != 0 {
			s.step(i, tree.Starved{Peer: id, For: s.now - above})
		}
	case !t.flowing && s.now >= t.at+s.rtt(i, from):
		s.flowingNow(i, t)
	default:
		t.last = s.now
	}
}

// kill lets a share of the nodes with children die without a word, or leave.
func (s *sim) kill() {
	s.killed = s.now
	var interior []int32
	for _, i := range s.alive() {
		n := s.nodes[i]
		if i > 0 && n.alive && len(n.serves) > 0 && (s.cfg.Layer == 0 || n.peer.View().Layer == s.cfg.Layer) {
			interior = append(interior, i)
		}
	}
	s.rng.Shuffle(len(interior), func(i, j int) { interior[i], interior[j] = interior[j], interior[i] })
	count := int(float64(len(interior)) * s.cfg.Kill)
	if s.cfg.Layer > 0 {
		count = min(max(count, 1), len(interior))
	}
	for _, i := range interior[:count] {
		if s.cfg.Polite {
			s.step(i, tree.Leave{})
			continue
		}
		s.die(i)
	}
	s.watchStrays()
}

// watchStrays notes, at a kill, how often each node has moved, and counts five seconds later
// those that have moved though their parent lives.
func (s *sim) watchStrays() {
	for _, i := range s.alive() {
		n := s.nodes[i]
		if n.alive && n.joined && n.since == 0 && !slices.ContainsFunc(n.takes, func(t take) bool { return !s.nodes[t.from].alive }) {
			n.moved = n.peer.View().Switches + 1
		}
	}
	s.at(s.now+calmTime, item{kind: stray})
}

func (s *sim) countStrays() {
	for _, i := range s.alive() {
		if n := s.nodes[i]; n.alive && n.moved > 0 && n.peer.View().Switches >= n.moved {
			s.res.Strays++
		}
	}
}
