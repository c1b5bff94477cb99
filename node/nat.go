package node

import (
	"context"
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/watergy/waterfall/stream/link"
	"github.com/watergy/waterfall/tree"
)

const (
	natAgain = 10 * time.Minute // networks change
	natRetry = time.Minute      // after nobody has answered
)

// watchNAT finds out what NAT this node sits behind and tells the trees, now and from time
// to time.
func (n *Node) watchNAT() {
	if len(n.cfg.STUN) == 0 || n.cfg.Volunteer {
		return
	}
	n.task(func(ctx context.Context) func() {
		for {
			wait := natAgain
			if kind, seen, err := n.links.NAT(ctx); err == nil {
				n.post(func() { n.setReach(kind, seen) })
			} else {
				n.log.Debug("our NAT is not known", "err", err)
				wait = natRetry
			}
			select {
			case <-time.After(wait):
			case <-n.moved:
			case <-ctx.Done():
				return nil
			}
		}
	})
}

func (n *Node) setReach(kind link.NAT, seen netip.Addr) {
	if kind != n.nat || seen != n.seen {
		n.log.Debug("our NAT", "kind", kind, "seen as", seen)
	}
	n.nat, n.seen = kind, seen
	n.tellReach()
}

// tellReach tells the trees who can reach this node, if that has changed.
func (n *Node) tellReach() {
	r := reachOf(n.nat, n.seen)
	if n.anybodyReaches() {
		r.NAT = tree.NATOpen
	}
	if r == n.reach {
		return
	}
	n.reach = r
	for _, s := range n.streams {
		s.step(tree.SetReach{Reach: r})
	}
}

// reachOf is what others are told. Asking tells how a NAT maps, not whom it lets in: so one
// that maps alike for all is taken for a restricted one.
func reachOf(kind link.NAT, seen netip.Addr) tree.Reach {
	var r tree.Reach
	switch kind {
	case link.NoNAT:
		r.NAT = tree.NATOpen
	case link.ConeNAT:
		r.NAT = tree.NATRestricted
	case link.SymmetricNAT:
		r.NAT = tree.NATSymmetric
	}
	if seen.IsValid() {
		h := fnv.New32a()
		h.Write(seen.AsSlice())
		sum := h.Sum32()
		r.Site = max(1, uint16(sum>>16^sum))
	}
	return r
}

// The verdicts when NATs keep people out.
const (
	joinerOutOfReach  = "there is room, but nobody who has some can be linked with from behind this NAT (hint: forward UDP ports to this machine and use --media-ports, or try another network; wfnode doctor tells more)"
	speakerOutOfReach = "somebody can't be linked with: no node with room can be reached from behind their NAT (hint: let one node with an open UDP port join, or forward ports to this machine and use --media-ports)"
)

// verdict is what a person must be told of how the stream gets through; empty: nothing.
func (s *live) verdict(v tree.View) string {
	switch {
	case s.ended:
		return ""
	case !v.OutOfReach:
		return clockVerdict(s.room.n.host.ClockOff())
	case v.Root:
		return speakerOutOfReach
	case v.Attached:
		return ""
	}
	return joinerOutOfReach
}

// sayVerdict logs it, once until it has changed.
func (s *live) sayVerdict() {
	now := s.verdict(s.tree.View())
	if now != "" && now != s.told {
		s.logger().Warn(now)
	}
	s.told = now
}
