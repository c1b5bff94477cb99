package node

import (
	"context"
	"maps"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/link"
	"github.com/watergy/waterfall/tree"
)

// peerLink is the one link with another node, and the streams that use it.
type peerLink struct {
	link  *link.Link
	box   [32]byte // the other's key of this run; tells a restarted node
	ours  bool     // we offered
	up    bool
	users map[*live]bool

	proven  map[peer.ID]uint16 // the newest epoch of a room in which the other has proven to be a member
	claims  map[peer.ID][]byte // proofs for an epoch whose secret we do not have yet
	control talk
}

// deaf is how long nothing has come over a link that lives: there is a ping every second.
const deaf = 1500 * time.Millisecond

// with says that the link is one with the run of the other that has this key, and that it was
// heard of late. One that has moved, or was started anew, may know no more of a link that has not
// ended here yet.
func (p *peerLink) with(box [32]byte) bool {
	heard := p.link.Stats().Heard
	return p.box == box && (heard.IsZero() || time.Since(heard) < deaf)
}

// linkTo is the link with a node, nil if there is none.
func (n *Node) linkTo(id tree.NodeID) *link.Link {
	if p := n.peers[id]; p != nil {
		return p.link
	}
	return nil
}

// send sends a control message; one that cannot go is dropped: a link that takes none
// is about to be reported down.
func (n *Node) send(to tree.NodeID, b []byte) {
	if p := n.peers[to]; p != nil {
		if err := p.link.Send(b); err != nil {
			n.log.Debug("control message not sent", "err", err)
		}
	}
}

// adopt makes p the link with a node, used by s. An older link gives way; s, which asked for
// the new one, is not told of its end. Nor are the others if the old one was still being made:
// two have offered to each other at once, for different streams, and both go on with the new.
func (n *Node) adopt(id tree.NodeID, p *peerLink, s *live) {
	p.users = map[*live]bool{s: true}
	if old := n.peers[id]; old != nil {
		delete(old.users, s)
		if !old.up {
			maps.Copy(p.users, old.users)
			clear(old.users)
		}
		n.lose(id, old)
	}
	for u := range p.users {
		p.prove(u.room) // by the offer, sealed for members, and its answer
	}
	n.peers[id] = p
}

// lose takes a link out and tells the streams that used it.
func (n *Node) lose(id tree.NodeID, p *peerLink) {
	delete(n.peers, id)
	n.closeLink(p.link)
	for s := range p.users {
		s.past.add(p.link, s.id)
		s.gap.stops(id, 0)
		s.step(tree.LinkDown{Peer: id})
		if s.root() && len(s.tree.View().Children) == 0 {
			s.room.presence.Behind() // have they all gone, or on without us?
		}
	}
}

// release ends a stream's use of a link; nobody's link is closed.
func (n *Node) release(id tree.NodeID, s *live) {
	p := n.peers[id]
	if p == nil {
		return
	}
	if !p.users[s] {
		return
	}
	delete(p.users, s)
	s.past.add(p.link, s.id)
	p.link.Drop(s.id)
	if len(p.users) == 0 {
		delete(n.peers, id)
		n.closeLink(p.link)
	}
}

// forgetUser releases every link of a stream that is over.
func (n *Node) forgetUser(s *live) {
	for id := range n.peers {
		n.release(id, s)
	}
}

// closeLink closes beside the loop: closing says goodbye over the network.
func (n *Node) closeLink(l *link.Link) {
	n.task(func(context.Context) func() { l.Close(); return nil })
}

// linkEvent brings what a link reports to the streams concerned.
func (n *Node) linkEvent(ev link.Event) {
	id := tree.NodeID(ev.Link.Peer())
	p := n.peers[id]
	if p == nil || p.link != ev.Link {
		return // a link that was given up
	}
	switch ev.Kind {
	case link.Up:
		p.up = true
		for s := range p.users {
			s.join.linkUp(n)
			s.room.presence.Linked(peer.ID(id))
			s.step(tree.LinkUp{Peer: id})
		}
	case link.Down:
		n.log.Debug("link down", "err", ev.Err)
		n.lose(id, p)
	case link.Control:
		switch p.control.take() {
		case heard:
			n.control(id, p, ev.Data)
		case flooded:
			n.leaveFlooder(id, p)
		}
	case link.Flowing:
		if s := n.streams[ev.Stream]; s != nil {
			s.join.firstPacket(n)
			s.gap.flows(id)
			s.step(tree.Flowing{Peer: id})
		}
	case link.Silent:
		if s := n.streams[ev.Stream]; s != nil {
			s.gap.stops(id, ev.For)
			s.step(tree.Silent{Peer: id, For: ev.For})
		}
	case link.Forged:
		n.leaveForger(id, p, ev)
	case link.Starved:
		if s := n.streams[ev.Stream]; s != nil {
			s.gap.stops(id, ev.For)
			s.step(tree.Starved{Peer: id, For: ev.For})
		}
	}
}

// measure tells the trees how far their neighbours are.
func (n *Node) measure() {
	for id, p := range n.peers {
		rtt := p.link.Stats().RTT
		for s := range p.users {
			if p.up && rtt > 0 {
				s.step(tree.Measured{Peer: id, RTT: rtt})
			}
		}
	}
}

// control gives a tree message to its stream. Offers that are handed on are checked
// first: whoever passed them on, the joiner's signature must hold.
func (n *Node) control(from tree.NodeID, p *peerLink, b []byte) {
	if len(b) >= len(stream.ID{}) {
		s := n.streams[stream.ID(b[:len(stream.ID{})])]
		switch {
		case s == nil:
		case s.room.roomMessage(from, p, b):
			return
		case !p.member(s.room, time.Now()):
			s.logger().Debug("a control message of one who is no member", "peer", peer.ID(from))
			return
		case s.chartMessage(from, b):
			return
		}
	}
	id, m, err := tree.Unmarshal(b)
	if err != nil {
		n.log.Debug("unreadable control message", "err", err)
		return
	}
	s := n.streams[[16]byte(id)]
	if s == nil {
		return
	}
	switch o := m.(type) {
	case tree.HandDown:
		o.Offer, err = s.checkOffer(o.Offer.Raw)
		m = o
	case tree.HandUp:
		o.Offer, err = s.checkOffer(o.Offer.Raw)
		m = o
	}
	if err != nil {
		s.logger().Debug("bad offer handed on", "err", err)
		return
	}
	p.users[s] = true
	s.step(tree.MessageReceived{From: from, Message: m})
}
