// Package treesim runs many tree.Peers in one process, in simulated time: it is how
// the tree is measured with more nodes than a machine can hold. The tree code is the
// real one; links, signalling and media are modelled (model.go). A run depends on
// nothing but its Config.
package treesim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/watergy/waterfall/tree"
)

type sim struct {
	cfg     Config
	rng     *rand.Rand
	queue   queue
	now     time.Duration
	nodes   []*node
	here    []int32 // of them, those who have come; see alive
	lost    int     // of these, those who have gone
	world   [regions][regions]time.Duration
	head    *tree.Head
	hash    uint64
	res     Result
	round   uint32 // of media, for the memo
	killed  time.Duration
	strong  int32 // the node that comes last; 0: none
	parted  bool
	version uint32 // counts partitions, begun and ended

	replies map[uint32]tree.AnswerReceived // on their way along the tree, or lost on it
	tickets uint32
}

// epoch is the time of day at which every run starts.
var epoch = time.Unix(1_000_000_000, 0)

// node is a tree.Peer and what the node layer keeps around it.
type node struct {
	peer    *tree.Peer
	id      tree.NodeID
	region  uint8
	access  time.Duration // that its line adds to a round trip
	version uint32        // counts changes of whom it serves
	arrived time.Duration
	alive   bool
	watch   tree.Watch
	wake    time.Duration // of the queued wake-up; 0: none
	offers  map[tree.OfferID]*attempt
	links   []linkEnd
	takes   []take
	serves  []int32 // who may take: children and standbys
	takers  int     // who does
	slots   int

	liar  bool // serves nothing
	crowd bool // comes with all the others
	far   bool // on the other side of a partition

	flowing bool // media comes
	memo    uint32
	since   time.Duration // of the start of the present lack
	joined  bool
	from    time.Duration // when it had
	moved   int           // at a kill: its switches, plus 1; 0: an orphan
	orphan  bool          // the lack began with the death of the parent
}

// attempt is an offer that is out, then a link in the making.
type attempt struct {
	joiner  int32
	dropped bool
}

type link struct{ closed bool }

// linkEnd is a link as one of its ends has it.
type linkEnd struct {
	peer int32
	link *link
}

// linkTo returns the link with a node, or nil.
func (n *node) linkTo(peer int32) *link {
	for i := range n.links {
		if n.links[i].peer == peer {
			return n.links[i].link
		}
	}
	return nil
}

func (n *node) unlink(peer int32) {
	n.links = slices.DeleteFunc(n.links, func(e linkEnd) bool { return e.peer == peer })
}

// take is one Attach.
type take struct {
	from    int32
	at      time.Duration
	last    time.Duration // something came
	flowing bool
	version uint32 // for which …
	good    bool   // … it is served
}

func nodeID(i int32) tree.NodeID {
	return tree.NodeID(binary.BigEndian.AppendUint32([]byte("node"), uint32(i)))
}

func index(id tree.NodeID) int32 { return int32(binary.BigEndian.Uint32([]byte(id[4:]))) }

// Run simulates cfg.
func Run(cfg Config) (Result, error) {
	if cfg.Nodes < 1 {
		return Result{}, fmt.Errorf("treesim: %d nodes", cfg.Nodes)
	}
	if cfg.Until == 0 {
		cfg.Until = max(cfg.Spread, cfg.Strong, cfg.KillAt, cfg.CutAt+cfg.CutFor) + 30*time.Second
	}
	s := &sim{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), nodes: make([]*node, 0, cfg.Nodes+1), hash: 14695981039346656037, world: roundTrips(),
		replies: make(map[uint32]tree.AnswerReceived)}
	if err := s.populate(); err != nil {
		return Result{}, err
	}
	if cfg.Cut > 0 {
		s.at(cfg.CutAt, item{kind: parted})
	}
	if cfg.Kill > 0 {
		s.at(cfg.KillAt, item{kind: kill})
	}
	s.at(mediaTick, item{kind: media})
	for len(s.queue.heap) > 0 {
		at, it := s.queue.pop()
		if at > cfg.Until {
			break
		}
		s.now = at
		s.res.Events++
		s.run(it)
	}
	s.finish()
	return s.res, nil
}

// populate makes the nodes and sets the times of their coming and going.
func (s *sim) populate() error {
	cfg := &s.cfg
	for i := range cfg.Nodes {
		region, access := settle(s.rng)
		slots, err := cfg.Mix.draw(s.rng, cfg.Slots)
		if err != nil {
			return err
		}
		if i == 0 && cfg.Mix != Even { // nobody speaks from a line that carries one copy
			slots = max(slots, tree.DefaultSlots)
		}
		n, err := s.add(slots, region, access)
		if err != nil {
			return err
		}
		n.liar = i > 0 && cfg.Liars > 0 && s.rng.Float64() < cfg.Liars
		n.far = i > 0 && cfg.Cut > 0 && s.rng.Float64() < cfg.Cut
		switch {
		case i == 0:
		case s.rng.Float64() < cfg.Crowd:
			n.crowd = true
			n.arrived = cfg.Spread/2 + time.Duration(s.rng.Float64()*float64(cfg.Within))
		default:
			n.arrived = time.Duration(s.rng.Float64() * float64(cfg.Spread))
		}
		s.at(n.arrived, item{kind: arrive, node: int32(i)})
		if cfg.Stay > 0 && i > 0 {
			s.at(n.arrived+s.stay(), item{kind: depart, node: int32(i)})
		}
	}
	if cfg.Strong > 0 {
		region, access := settle(s.rng)
		n, err := s.add(strongSlots, region, access)
		if err != nil {
			return err
		}
		n.arrived, s.strong = cfg.Strong, index(n.id)
		s.at(n.arrived, item{kind: arrive, node: s.strong})
	}
	return nil
}

// strongSlots are those of the strongest of Access.
const strongSlots = 16

// add makes one more node, which has still to come.
func (s *sim) add(slots int, region uint8, access time.Duration) (*node, error) {
	n := &node{id: nodeID(int32(len(s.nodes))), slots: slotsOf(slots), region: region, access: access}
	var err error
	n.peer, err = tree.New(tree.Config{Self: n.id, Root: len(s.nodes) == 0, Slots: slots, Seed: s.cfg.Seed, Contact: make([]byte, 32)})
	s.nodes = append(s.nodes, n)
	return n, err
}

func (s *sim) at(t time.Duration, it item) {
	s.queue.push(t, it)
}

func (s *sim) run(it item) {
	switch it.kind {
	case arrive:
		if it.node == s.strong && it.node > 0 {
			s.res.Before = s.delays().Mean()
		}
		s.nodes[it.node].alive = true
		s.here = append(s.here, it.node)
		s.step(it.node, nil)
	case depart:
		s.depart(it.node)
	case wake:
		if n := s.nodes[it.node]; n.alive && n.wake == s.now {
			n.wake = 0
			s.step(it.node, nil)
		}
	case event:
		if s.nodes[it.node].alive {
			s.step(it.node, it.ev)
		}
	case control: // only if the link still is
		n := s.nodes[it.node]
		if n.alive && n.linkTo(it.from) == it.link && !s.cut(it.node, it.from) {
			if m, ok := it.ev.(tree.MessageReceived).Message.(tree.HandUp); ok && m.Offer.Purpose == tree.ToJoin {
				s.atRoot(it.node)
			}
			s.step(it.node, it.ev)
		}
	case offerTo:
		if n := s.nodes[it.node]; n.alive && n.watch.Offers && !s.cut(it.node, it.from) {
			s.atRoot(it.node)
			s.step(it.node, it.ev)
		}
	case answerTo:
		s.answered(it)
	case connect:
		s.connect(it)
	case disconnect, sever:
		if it.kind == sever && !s.cut(it.node, it.from) {
			return
		}
		if n := s.nodes[it.node]; n.alive && it.link != nil && n.linkTo(it.from) == it.link {
			n.unlink(it.from)
			n.version++
			s.step(it.node, tree.LinkDown{Peer: s.nodes[it.from].id})
		}
	case first:
		s.firstPacket(it.node, it.from)
	case media:
		s.media()
		s.at(s.now+mediaTick, item{kind: media})
	case parted:
		s.part()
	case kill:
		s.kill()
	case stray:
		s.countStrays()
	}
}

// atRoot counts an offer that has come to a node, if that is the speaker just after a kill.
func (s *sim) atRoot(i int32) {
	if i == 0 && s.killed > 0 && s.now-s.killed < calmTime {
		s.res.AtRoot++
	}
}

// step gives node i an event and does what it says.
func (s *sim) step(i int32, ev tree.Event) {
	n := s.nodes[i]
	s.mix(uint64(s.now))
	s.mix(uint64(i))
	p := n.peer // which a node that leaves gives up
	for _, a := range p.Step(epoch.Add(s.now), ev) {
		s.do(i, a)
	}
	if d := p.Deadline(); !d.IsZero() {
		t := max(d.Sub(epoch), s.now)
		if n.wake == 0 || t < n.wake {
			n.wake = t
			s.at(t, item{kind: wake, node: i})
		}
	}
}

func (s *sim) do(i int32, a tree.Action) {
	n := s.nodes[i]
	switch a := a.(type) {
	case tree.SendOffer:
		s.mixAction(1, a.To.Node+a.Via, uint64(a.Offer))
		if n.offers == nil {
			n.offers = make(map[tree.OfferID]*attempt)
		}
		n.offers[a.Offer] = &attempt{joiner: i}
		o := tree.Offer{ID: a.Offer, Joiner: n.id, Purpose: a.Purpose, Below: a.Below, Slots: a.Slots, Avoid: a.Avoid, Reach: a.Reach, Up: a.Up, Raw: offerBytes}
		if a.Via != "" {
			s.sendControl(i, index(a.Via), tree.HandUp{Deepest: a.Deepest, Offer: o})
			return
		}
		s.res.Offers++
		if !n.joined {
			s.res.Asks++
		}
		to := index(a.To.Node)
		s.at(s.now+s.signal(), item{kind: offerTo, node: to, from: i, ev: tree.OfferReceived{Offer: o}})
	case tree.DropOffer:
		s.mixAction(2, "", uint64(a.Offer))
		if t := n.offers[a.Offer]; t != nil {
			t.dropped = true
			delete(n.offers, a.Offer)
		}
	case tree.Answer:
		s.mixAction(3, a.Offer.Joiner, uint64(a.Verdict))
		j := index(a.Offer.Joiner)
		ans := tree.AnswerReceived{Offer: a.Offer.ID, From: n.id, Verdict: a.Verdict, Path: a.Path}
		if a.Via != "" {
			s.sendControl(i, index(a.Via), tree.Reply{Joiner: a.Offer.Joiner, Offer: a.Offer.ID, Raw: s.ticket(ans)})
		} else {
			s.at(s.now+s.signal(), item{kind: answerTo, node: j, from: i, ev: ans})
		}
		if a.Verdict == tree.Accepted && n.linkTo(j) != nil {
			s.at(s.now, item{kind: event, node: i, ev: tree.LinkUp{Peer: a.Offer.Joiner}})
		}
	case tree.OpenAnswer:
		k := binary.BigEndian.Uint32(a.Raw)
		ans := s.replies[k]
		delete(s.replies, k)
		s.at(s.now, item{kind: answerTo, node: i, from: index(ans.From), ev: ans})
	case tree.Send:
		s.sendControl(i, index(a.To), a.Message)
	case tree.Attach:
		s.mixAction(5, a.Parent, 0)
		p := index(a.Parent)
		if s.reaches(p, i, 0) {
			s.res.Loops++
		}
		n.takes = append(n.takes, take{from: p, at: s.now, last: s.now})
		m := s.nodes[p]
		if m.takers++; m.takers > 3*max(m.slots, 1) {
			s.res.Over++
		}
		s.at(s.now+s.rtt(i, p), item{kind: first, node: i, from: p})
	case tree.Detach:
		s.mixAction(6, a.Parent, 0)
		p := index(a.Parent)
		n.takes = slices.DeleteFunc(n.takes, func(t take) bool { return t.from == p })
		s.nodes[p].takers--
	case tree.Serve:
		s.mixAction(7, a.Child, 0)
		if c := index(a.Child); !slices.Contains(n.serves, c) {
			n.serves = append(n.serves, c)
			n.version++
		}
	case tree.Unserve:
		s.mixAction(8, a.Child, 0)
		c := index(a.Child)
		n.serves = slices.DeleteFunc(n.serves, func(x int32) bool { return x == c })
		n.version++
	case tree.Release:
		s.mixAction(9, a.Peer, 0)
		s.release(i, index(a.Peer))
	case tree.PublishHead:
		s.mixAction(10, "", a.Head.Seq)
		s.res.Heads++
		s.head = &a.Head
		for _, j := range s.alive() {
			if m := s.nodes[j]; m.alive && m.watch.Heads && !s.cut(i, j) {
				s.at(s.now+s.signal(), item{kind: event, node: j, ev: tree.HeadSeen(a)})
			}
		}
	case tree.Watch:
		s.mixAction(11, "", uint64(boolInt(a.Heads)*2+boolInt(a.Offers)))
		if a.Heads && !n.watch.Heads && s.head != nil && !s.cut(i, 0) {
			s.at(s.now+dhtGet, item{kind: event, node: i, ev: tree.HeadSeen{Head: *s.head}})
		}
		n.watch = a
	case tree.Left:
		n.alive = false
		n.version++
		s.gone(i)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// mix is FNV-1a, a word at a time.
func (s *sim) mix(x uint64) { s.hash = (s.hash ^ x) * 1099511628211 }

// mixBytes takes all of b.
func (s *sim) mixBytes(b []byte) {
	for len(b) >= 8 {
		s.mix(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	for _, x := range b {
		s.mix(uint64(x))
	}
}

func (s *sim) mixAction(kind uint64, who tree.NodeID, x uint64) {
	s.mix(kind)
	if who != "" {
		s.mix(uint64(index(who)))
	}
	s.mix(x)
}

// delays are those that the nodes reckon, sorted.
func (s *sim) delays() (out Times) {
	for _, i := range s.alive() {
		if n := s.nodes[i]; n.alive {
			if v := n.peer.View(); v.Attached && v.PathDelay != nil {
				out = append(out, *v.PathDelay)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (s *sim) finish() {
	s.round++
	s.res.Delay = s.delays()
	depth := map[int]int{}
	for _, i := range s.alive() {
		n := s.nodes[i]
		if !n.alive {
			continue
		}
		s.res.Alive++
		s.stopWatching(n)
		if n.joined && n.since != 0 {
			s.res.Lacking++
		}
		if !s.flows(i) {
			continue
		}
		s.res.Attached++
		v := n.peer.View()
		s.res.Switches += v.Switches
		if len(v.Children) > v.Slots {
			s.res.Crowded++
		}
		if v.Backup != "" {
			s.res.Backed++
		}
		depth[v.Layer]++
	}
	for l := 0; len(depth) > 0; l++ {
		s.res.Layers = append(s.res.Layers, depth[l])
		delete(depth, l)
	}
	slices.Sort(s.res.Join)
	slices.Sort(s.res.Flash)
	slices.Sort(s.res.Orphans)
	slices.Sort(s.res.Below)
	s.res.Hash = s.hash
}
