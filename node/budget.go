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
	// loan is how long a slot that was given to a stream in need stays, once it is not.
	loan = 30 * time.Second
)

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
// stream is given more than most, none less than it uses.
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
	most := n.cfg.Slots
	switch {
	case most < 0:
		return
	case most == 0:
		most = tree.DefaultSlots
	}
	var streams []*live
	var claims []claim
	rate := uint64(0)
	for _, r := range n.rooms {
		for _, s := range r.sorted() {
			if s.ended {
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
			rate += s.bitrate()
		}
	}
	total := most
	if len(streams) > 1 && rate > 0 {
		total = int(float64(most) * slotRate * float64(len(streams)) / float64(rate))
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

// bitrate is what the stream's media takes a second.
func (s *live) bitrate() (bps uint64) {
	for _, t := range s.hist.Stats() {
		bps += t.BitrateBPS
	}
	return bps
}
