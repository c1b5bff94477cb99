package tree

import "slices"

// NAT is how the address translation that a node sits behind treats those who have not
// been spoken to. The zero value says nothing: such a node is tried like an open one.
type NAT uint8

// Kinds of NAT, the easiest first. Only symmetric with symmetric, and symmetric with
// restricted, can't be linked without a relay (docs/tree.md).
const (
	NATUnknown    NAT = iota
	NATOpen           // anybody may reach it: a public address, a forwarded port, a full cone
	NATRestricted     // only those it has sent to, at the port that it has sent to
	NATSymmetric      // as NATRestricted, and for each of them from another port
	nats
)

// Reach is what others must know of a node to judge whether they can link with it.
type Reach struct {
	NAT NAT
	// Site is the same for nodes that share a public address, so that they can reach each
	// other whatever their NAT: a hash of it. 0: unknown.
	Site uint16
}

// Meets says whether two nodes can be linked, as far as is known.
func (r Reach) Meets(o Reach) bool {
	return r.Site != 0 && r.Site == o.Site || max(r.NAT, o.NAT) < NATSymmetric || min(r.NAT, o.NAT) < NATRestricted
}

// need is how much an opening has to offer to a joiner: the acceptors that will do for
// one need will do for every lesser one.
type need int

const (
	anyNode   need = iota // for open joiners
	notStrict             // an acceptor that is not symmetric: for restricted joiners
	openOnly              // one that anybody can reach: for symmetric joiners
	needs
)

// needOf is what a joiner asks of its parent.
func needOf(r Reach) need {
	switch r.NAT {
	case NATRestricted:
		return notStrict
	case NATSymmetric:
		return openOnly
	}
	return anyNode
}

// serves is the greatest need that a node behind r meets.
func (r Reach) serves() need {
	switch r.NAT {
	case NATRestricted:
		return notStrict
	case NATSymmetric:
		return anyNode
	}
	return openOnly
}

// rooms are free slots by level for each need. Nil for a need: the same as for the next
// lesser one.
type rooms [needs][]uint32

// of returns the free slots that will do for n.
func (r *rooms) of(n need) []uint32 {
	for n > anyNode && r[n] == nil {
		n--
	}
	return r[n]
}

// take notes that one at a level has been given to a joiner with need n.
func (r *rooms) take(n need, level int) {
	for ; n >= anyNode; n-- {
		if level < len(r[n]) && r[n][level] > 0 {
			r[n][level]--
		}
	}
}

// none notes that at levels below end there is nothing for need n.
func (r *rooms) none(n need, end int) {
	for k := n; k < needs; k++ {
		if k == n && r[n] == nil {
			r[n] = slices.Clone(r.of(n))
		}
		clear(r[k][:min(max(end, 0), len(r[k]))])
	}
}

// first is the shallowest level with room for n, or −1.
func (r *rooms) first(n need) int {
	return slices.IndexFunc(r.of(n), func(k uint32) bool { return k > 0 })
}

// shut says that there is room, but none for n.
func (r *rooms) shut(n need) bool { return n > anyNode && r.first(n) < 0 && r.first(anyNode) >= 0 }
