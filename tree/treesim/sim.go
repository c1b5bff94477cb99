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

// Config describes a run. Node 0 is the speaker.
type Config struct {
	Nodes  int           // with the speaker
	Slots  int           // of each node; 0 means tree.DefaultSlots
	Seed   uint64        // of everything that is random
	Spread time.Duration // joiners come evenly over this time …
	Crowd  float64       // … but this share of them comes at once, half-way
	Kill   float64       // share of the nodes with children that die at once …
	KillAt time.Duration // … at this time
	Layer  int           // not 0: of the nodes of this layer only, at least one
	Polite bool          // they leave instead of dying
	Mix    Mix           // of the slots
	Stay   time.Duration // not 0: nodes go after this time on average, and others come in their place
	Dying  float64       // share of these that die instead of leaving
	Cut    float64       // share of the nodes that a partition parts from the speaker …
	CutAt  time.Duration // … from this time on …
	CutFor time.Duration // … for so long
	Liars  float64       // share of the nodes that take children and deliver nothing
	Until  time.Duration // length of the run; 0 means 30 s after the last arrival or kill
	Wire   bool          // every control message goes through Marshal and Unmarshal
}

// Result is what a run showed.
type Result struct {
	Alive    int // nodes at the end, the speaker included
	Attached int // of these, with media coming all the way from the speaker
	Layers   []int
	Loops    int   // times that a node took the stream from below itself: must be 0
	Over     int   // times that a node had to serve more than three times its slots: must be 0
	Crowded  int   // nodes with more children than slots at the end
	Backed   int   // nodes with a backup at the end
	Delay    Times // of the stream to each node at the end, as the nodes reckon

	Join    Times // arrival to media
	LastIn  time.Duration
	Orphans Times         // media lost with the parent until it came again
	Below   Times         // the same for those further below
	Watched time.Duration // by all nodes together
	Late    time.Duration // of it, what did not come within playout of its time
	Lacking int           // nodes that wait for media at the end

	Messages uint64 // over control channels
	Bytes    uint64 // of these messages
	Offers   uint64 // sent by signalling
	Heads    uint64
	Switches int
	Events   uint64
	Hash     uint64 // of the whole run: same Config, same hash
}

// Depth is the deepest layer with a node in it.
func (r Result) Depth() int { return len(r.Layers) - 1 }

// Times are how long something took, sorted.
type Times []time.Duration

// Quantile is the time within which share q was done.
func (t Times) Quantile(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	return t[min(int(q*float64(len(t))), len(t)-1)]
}

type sim struct {
	cfg    Config
	rng    *rand.Rand
	queue  queue
	now    time.Duration
	nodes  []*node
	head   *tree.Head
	hash   uint64
	res    Result
	round  uint32 // of media, for the memo
	killed time.Duration
	parted bool

	replies []tree.AnswerReceived // on their way along the tree
}

// epoch is the time of day at which every run starts.
var epoch = time.Unix(1_000_000_000, 0)

// node is a tree.Peer and what the node layer keeps around it.
type node struct {
	peer    *tree.Peer
	id      tree.NodeID
	arrived time.Duration
	alive   bool
	watch   tree.Watch
	wake    time.Duration // of the queued wake-up; 0: none
	offers  map[tree.OfferID]*attempt
	links   map[int32]*link
	takes   []take
	serves  []int32 // who may take: children and standbys
	takers  int     // who does
	slots   int

	liar bool // serves nothing
	far  bool // on the other side of a partition

	flowing bool // media comes
	memo    uint32
	since   time.Duration // of the start of the present lack
	joined  bool
	from    time.Duration // when it had
	orphan  bool          // the lack began with the death of the parent
}

// attempt is an offer that is out, then a link in the making.
type attempt struct {
	joiner  int32
	dropped bool
}

type link struct{ closed bool }

// take is one Attach.
type take struct {
	from    int32
	at      time.Duration
	last    time.Duration // something came
	flowing bool
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
		cfg.Until = max(cfg.Spread, cfg.KillAt, cfg.CutAt+cfg.CutFor) + 30*time.Second
	}
	s := &sim{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), nodes: make([]*node, cfg.Nodes), hash: 14695981039346656037}
	for i := range s.nodes {
		n := &node{id: nodeID(int32(i))}
		s.nodes[i] = n
		slots, err := cfg.Mix.draw(s.rng, cfg.Slots)
		if err != nil {
			return Result{}, err
		}
		if i == 0 && cfg.Mix != Even { // nobody speaks from a line that carries one copy
			slots = max(slots, tree.DefaultSlots)
		}
		n.slots = slotsOf(slots)
		p, err := tree.New(tree.Config{
			Self: n.id, Root: i == 0, Slots: slots, Seed: cfg.Seed, Contact: make([]byte, 32),
		})
		if err != nil {
			return Result{}, err
		}
		n.peer = p
		n.liar = i > 0 && cfg.Liars > 0 && s.rng.Float64() < cfg.Liars
		n.far = i > 0 && cfg.Cut > 0 && s.rng.Float64() < cfg.Cut
		switch {
		case i == 0:
		case s.rng.Float64() < cfg.Crowd:
			n.arrived = cfg.Spread / 2
		default:
			n.arrived = time.Duration(s.rng.Float64() * float64(cfg.Spread))
		}
		s.at(n.arrived, item{kind: arrive, node: int32(i)})
		if cfg.Stay > 0 && i > 0 {
			s.at(n.arrived+s.stay(), item{kind: depart, node: int32(i)})
		}
	}
	if cfg.Cut > 0 {
		s.at(cfg.CutAt, item{kind: parted})
	}
	if cfg.Kill > 0 {
		s.at(cfg.KillAt, item{kind: kill})
	}
	s.at(mediaTick, item{kind: media})
	for len(s.queue.items) > 0 {
		it := s.queue.pop()
		if it.at > cfg.Until {
			break
		}
		s.now = it.at
		s.res.Events++
		s.run(it)
	}
	s.finish()
	return s.res, nil
}

func (s *sim) at(t time.Duration, it item) {
	it.at = t
	s.queue.push(it)
}

func (s *sim) run(it item) {
	switch it.kind {
	case arrive:
		s.nodes[it.node].alive = true
		s.step(it.node, nil)
	case depart:
		s.depart(it.node)
	case wake:
		if n := s.nodes[it.node]; n.alive && n.wake == it.at {
			n.wake = 0
			s.step(it.node, nil)
		}
	case event:
		if s.nodes[it.node].alive {
			s.step(it.node, it.ev)
		}
	case control: // only if the link still is
		n := s.nodes[it.node]
		if n.alive && n.links[it.from] == it.link && !s.cut(it.node, it.from) {
			s.step(it.node, it.ev)
		}
	case offerTo:
		if n := s.nodes[it.node]; n.alive && n.watch.Offers && !s.cut(it.node, it.from) {
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
		if n := s.nodes[it.node]; n.alive && it.link != nil && n.links[it.from] == it.link {
			delete(n.links, it.from)
			s.step(it.node, tree.LinkDown{Peer: nodeID(it.from)})
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
	}
}

// step gives node i an event and does what it says.
func (s *sim) step(i int32, ev tree.Event) {
	n := s.nodes[i]
	s.mix(uint64(s.now))
	s.mix(uint64(i))
	for _, a := range n.peer.Step(epoch.Add(s.now), ev) {
		s.do(i, a)
	}
	if d := n.peer.Deadline(); !d.IsZero() {
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
		o := tree.Offer{ID: a.Offer, Joiner: n.id, Purpose: a.Purpose, Below: a.Below, Slots: a.Slots, Avoid: a.Avoid, Raw: offerBytes}
		if a.Via != "" {
			s.sendControl(i, index(a.Via), tree.HandUp{Deepest: a.Deepest, Offer: o})
			return
		}
		s.res.Offers++
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
		if a.Verdict == tree.Accepted && n.links[j] != nil {
			s.at(s.now, item{kind: event, node: i, ev: tree.LinkUp{Peer: a.Offer.Joiner}})
		}
	case tree.OpenAnswer:
		ans := s.replies[binary.BigEndian.Uint32(a.Raw)]
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
		}
	case tree.Unserve:
		s.mixAction(8, a.Child, 0)
		c := index(a.Child)
		n.serves = slices.DeleteFunc(n.serves, func(x int32) bool { return x == c })
	case tree.Release:
		s.mixAction(9, a.Peer, 0)
		s.release(i, index(a.Peer))
	case tree.PublishHead:
		s.mixAction(10, "", a.Head.Seq)
		s.res.Heads++
		s.head = &a.Head
		for j := range s.nodes {
			if m := s.nodes[j]; m.alive && m.watch.Heads && !s.cut(i, int32(j)) {
				s.at(s.now+s.signal(), item{kind: event, node: int32(j), ev: tree.HeadSeen(a)})
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

func (s *sim) mixAction(kind uint64, who tree.NodeID, x uint64) {
	s.mix(kind)
	if who != "" {
		s.mix(uint64(index(who)))
	}
	s.mix(x)
}

func (s *sim) finish() {
	s.round++
	depth := map[int]int{}
	for i := range s.nodes {
		n := s.nodes[i]
		if !n.alive {
			continue
		}
		s.res.Alive++
		s.stopWatching(n)
		if n.joined && n.since != 0 {
			s.res.Lacking++
		}
		if !s.flows(int32(i)) {
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
		if v.PathDelay != nil {
			s.res.Delay = append(s.res.Delay, *v.PathDelay)
		}
		depth[v.Layer]++
	}
	for l := 0; len(depth) > 0; l++ {
		s.res.Layers = append(s.res.Layers, depth[l])
		delete(depth, l)
	}
	slices.Sort(s.res.Delay)
	slices.Sort(s.res.Join)
	slices.Sort(s.res.Orphans)
	slices.Sort(s.res.Below)
	s.res.Hash = s.hash
}
