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
// Delay between two nodes is fixed and log-normal with a median round trip of 76 ms,
// that of the PlanetLab nodes in the Vivaldi paper (Dabek et al., SIGCOMM 2004).
// Signalling is one gossip delivery as measured among 1,000 libp2p nodes at 25 ms one
// way: p50 96 ms, p99 143 ms. A link takes three round trips after the answer, and
// the first packet one more: as measured with pion at 100 ms round trip, set-up tuned.
const (
	medianOneWay = 38 * time.Millisecond
	sigmaOneWay  = 0.6
	minOneWay    = 2 * time.Millisecond
	maxOneWay    = 250 * time.Millisecond

	medianSignal = 96 * time.Millisecond
	sigmaSignal  = 0.171
	dhtGet       = 510 * time.Millisecond // of the newest head, by one who begins to watch
	linkTrips    = 3

	mediaTick    = 50 * time.Millisecond  // how often the flow of media is looked at
	silentFrom   = 150 * time.Millisecond // the link layer's first word of silence
	linkDeadline = 5 * time.Second        // until a link to a dead node is closed (ICE)
)

// offerBytes stands for a joiner's link description.
var offerBytes = make([]byte, 230)

// oneWay is the delay between two nodes.
func (s *sim) oneWay(a, b int32) time.Duration {
	if a > b {
		a, b = b, a
	}
	x := s.cfg.Seed ^ uint64(a)<<32 ^ uint64(b)
	u1, x := uniform(x)
	u2, _ := uniform(x)
	z := math.Sqrt(-2*math.Log(1-u1)) * math.Cos(2*math.Pi*u2)
	d := time.Duration(float64(medianOneWay) * math.Exp(sigmaOneWay*z))
	return min(max(d, minOneWay), maxOneWay)
}

// uniform is one step of SplitMix64, as a number in [0, 1).
func uniform(x uint64) (float64, uint64) {
	x += 0x9e3779b97f4a7c15
	z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return float64(z>>11) / (1 << 53), z
}

func (s *sim) rtt(a, b int32) time.Duration { return 2 * s.oneWay(a, b) }

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
	s.step(it.node, ev)
	t := n.offers[ev.Offer]
	if ev.Verdict != tree.Accepted || t == nil {
		return
	}
	if n.links[it.from] != nil {
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
	if it.try.dropped || !a.alive || !b.alive || a.links[it.from] != nil {
		return
	}
	delete(a.offers, it.ev.(tree.AnswerReceived).Offer)
	l := &link{}
	for _, end := range [2]struct {
		n    *node
		peer int32
	}{{a, it.from}, {b, it.node}} {
		if end.n.links == nil {
			end.n.links = make(map[int32]*link)
		}
		end.n.links[end.peer] = l
	}
	rtt := s.rtt(it.node, it.from)
	s.step(it.from, tree.LinkUp{Peer: a.id})
	s.step(it.node, tree.Measured{Peer: b.id, RTT: rtt})
	s.step(it.node, tree.LinkUp{Peer: b.id})
}

// ticket is a Reply's Raw: the index of what the joiner will find in it.
func (s *sim) ticket(a tree.AnswerReceived) []byte {
	s.replies = append(s.replies, a)
	return binary.BigEndian.AppendUint32(nil, uint32(len(s.replies)-1))
}

func (s *sim) sendControl(from, to int32, m tree.Message) {
	b := tree.Marshal(tree.StreamID{}, m)
	s.mixAction(4, nodeID(to), uint64(len(b))<<8|uint64(b[16]))
	s.res.Messages++
	s.res.Bytes += uint64(len(b))
	l := s.nodes[from].links[to]
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
		ev: tree.MessageReceived{From: nodeID(from), Message: m}})
}

// release closes the link of a with b: there is one stream only. The other end hears
// of it after what is on its way.
func (s *sim) release(a, b int32) {
	l := s.nodes[a].links[b]
	if l == nil {
		return
	}
	delete(s.nodes[a].links, b)
	l.closed = true
	s.at(s.now+s.oneWay(a, b), item{kind: disconnect, node: b, from: a, link: l})
}

// reaches says whether the stream as taken at from comes from to.
func (s *sim) reaches(from, to int32, depth int) bool {
	if from == to || depth > 256 {
		return true
	}
	for _, t := range s.nodes[from].takes {
		if s.delivers(from, t.from) && s.reaches(t.from, to, depth+1) {
			return true
		}
	}
	return false
}

// delivers says that b serves a and can reach it.
func (s *sim) delivers(a, b int32) bool {
	m := s.nodes[b]
	return m.alive && !m.liar && m.links[a] != nil && !s.cut(a, b) && slices.Contains(m.serves, a)
}

// flows says whether media comes to i all the way from the speaker.
func (s *sim) flows(i int32) bool {
	n := s.nodes[i]
	if n.memo == s.round {
		return n.flowing
	}
	n.memo, n.flowing = s.round, i == 0 && n.alive
	for _, t := range n.takes {
		if s.delivers(i, t.from) && s.flows(t.from) {
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
		if t := &n.takes[j]; t.from == from && !t.flowing && s.delivers(i, from) && s.flows(from) {
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
		s.res.LastIn = max(s.res.LastIn, s.now)
	case n.since != 0 && n.orphan:
		s.res.Orphans = append(s.res.Orphans, s.now-n.since)
	case n.since != 0:
		s.res.Below = append(s.res.Below, s.now-n.since)
	}
	s.ended(n)
	s.step(i, tree.Flowing{Peer: nodeID(from)})
}

// media looks at every node's sources, as the link layer does.
func (s *sim) media() {
	s.round++
	for i := range s.nodes {
		n := s.nodes[i]
		if !n.alive || i == 0 {
			continue
		}
		flows := s.flows(int32(i))
		if n.joined && !flows && n.since == 0 {
			n.since = s.now
			if s.killed != 0 && s.now-s.killed <= mediaTick {
				n.since = s.killed
			}
			n.orphan = !slices.ContainsFunc(n.takes, func(t take) bool { return s.nodes[t.from].alive })
		}
		for _, from := range sources(n.takes) {
			s.source(int32(i), from)
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
	id := nodeID(from)
	switch {
	case !s.delivers(i, from):
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
	for i := 1; i < len(s.nodes); i++ {
		n := s.nodes[i]
		if n.alive && len(n.serves) > 0 && (s.cfg.Layer == 0 || n.peer.View().Layer == s.cfg.Layer) {
			interior = append(interior, int32(i))
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
}
