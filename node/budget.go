package node

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/watergy/waterfall/tree"
)

const (
	// slotRate (bit/s) is what a slot is reckoned to take of the uplink: streams of less let
	// a node pass on more of them.
	slotRate = 2.5e6
	// mediaShare is how much of it several streams may fill with what they carry: headers, seals
	// and signatures are a tenth of small streams, and a tenth stays free for repairs.
	mediaShare = 0.8
	// loan is how long a slot that was given to a stream in need stays, once it is not.
	loan = 30 * time.Second
	// overdrawn is the part of all slots by which more may be in use: rates go up and down.
	overdrawn = 8
	// rateSamples, one a second, are what a stream's rate is the median of: a joiner's burst is over
	// by then.
	rateSamples = 9
)

// rateWatch holds the last rates of a stream, zero where there was none.
type rateWatch struct {
	last [rateSamples]uint64
	next int
}

func (r *rateWatch) add(bps uint64) {
	r.last[r.next] = bps
	r.next = (r.next + 1) % rateSamples
}

// rate is the median; 0 while there is none.
func (r *rateWatch) rate() uint64 {
	seen := make([]uint64, 0, rateSamples)
	for _, bps := range r.last {
		if bps > 0 {
			seen = append(seen, bps)
		}
	}
	if len(seen) == 0 {
		return 0
	}
	slices.Sort(seen)
	return seen[len(seen)/2]
}

// claim is one stream's part in a node's budget of slots.
type claim struct {
	root  bool
	order uint64 // by hash of node and stream: the lowest is preferred
	used  int    // children
	need  bool   // its tree has no room, or had none a moment ago
}

// share divides total slots over the streams that a node is in: its own stream and the one
// it prefers come first, so that a node is interior in few trees and its loss hurts few
// (SplitStream, section 3); a tree without room is given a slot out of what is not used. No
// stream is given more than most. None is given less than it uses, unless that is clearly more
// than there is: then those least preferred have to give, and their children look elsewhere.
func share(total, most int, claims []claim) []int {
	order := make([]int, len(claims))
	slots := make([]int, len(claims))
	left := total
	for i, c := range claims {
		order[i], slots[i] = i, c.used
		left -= c.used
	}
	slices.SortFunc(order, func(a, b int) int {
		if claims[a].root != claims[b].root {
			return cmp.Compare(b2i(claims[b].root), b2i(claims[a].root))
		}
		return cmp.Compare(claims[a].order, claims[b].order)
	})
	if left < -total/overdrawn {
		for k := len(order) - 1; k >= 0 && left < 0; k-- {
			least := b2i(claims[order[k]].root)
			n := max(0, min(slots[order[k]]-least, -left))
			slots[order[k]] -= n
			left += n
		}
	}
	give := func(i, want int) {
		if n := min(want, left); n > 0 {
			slots[i] += n
			left -= n
		}
	}
	for _, i := range order {
		if claims[i].need && slots[i] < most {
			give(i, 1)
		}
	}
	for _, i := range order {
		give(i, most-slots[i])
	}
	return slots
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// preference places a stream in a node's own order of streams.
func preference(self tree.NodeID, s *live) uint64 {
	h := fnv.New64a()
	h.Write([]byte(self))
	h.Write(s.id[:])
	return h.Sum64()
}

// budget gives each stream its share of the slots. A node with one stream gives it all.
func (n *Node) budget(now time.Time) {
	most := n.cfg.startSlots(true)
	switch {
	case most < 0:
		return
	case most == 0:
		most = tree.DefaultSlots
	}
	var streams []*live
	var claims []claim
	rate, known := uint64(0), 0
	for _, r := range n.rooms {
		for _, s := range r.sorted() {
			if s.ended || n.cfg.OwnOnly && !s.root() {
				continue
			}
			v := s.tree.View()
			if v.Head.Seq > 0 && v.Head.Free == 0 {
				s.needUntil = now.Add(loan)
			}
			streams = append(streams, s)
			claims = append(claims, claim{
				root: v.Root, order: preference(tree.NodeID(n.ID()), s), used: len(v.Children), need: s.needUntil.After(now),
			})
			if bps := s.rate.rate(); bps > 0 {
				rate, known = rate+bps, known+1
			}
		}
	}
	total := most
	if len(streams) > 1 && rate > 0 {
		total = int(float64(most) * slotRate * mediaShare * float64(known) / float64(rate))
		total = max(most, min(total, most*len(streams)))
	}
	for i, k := range share(total, most, claims) {
		s := streams[i]
		if k == 0 {
			k = -1 // none; 0 would be the default
		}
		if s.slots != k && (s.slots != 0 || len(streams) > 1) {
			s.slots = k
			s.step(tree.SetSlots{Slots: k})
		}
	}
}

// SetRelay says from now on whether others' streams are passed on (Config.OwnOnly).
func (n *Node) SetRelay(relay bool) {
	n.do(func() {
		if n.cfg.OwnOnly == !relay {
			return
		}
		n.cfg.OwnOnly = !relay
		for _, s := range n.streams {
			if s.root() {
				continue
			}
			s.uplink, s.slots = newUplink(n.cfg.slots(false), n.cfg.Uplink), 0
			s.step(tree.SetSlots{Slots: n.cfg.startSlots(false)})
		}
		n.budget(time.Now())
	})
}

// bitrate is what the stream's media takes a second.
func (s *live) bitrate() (bps uint64) {
	for _, t := range s.hist.Stats() {
		bps += t.BitrateBPS
	}
	return bps
}
