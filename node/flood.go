package node

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/watergy/waterfall/tree"
)

// A neighbour's control messages are taken at a rate that a join storm at a relay in layer 1
// stays below. Who goes far beyond it is cut off, since it holds a slot. So that nobody is cut
// off for what others make it hand on, every node hands on less than a neighbour takes: even
// when a line that stood still for 3 s brings all at once, floodBurst is not reached.
const (
	controlRate  = 200 // a second
	controlBurst = 1000
	floodBurst   = 500 // as many again, beyond that rate

	handRate  = 150 // offers and answers that are handed on
	handBurst = 750
)

// talk is what one neighbour may send and be sent. Zero: nothing has been so far.
type talk struct{ in, beyond, out *rate.Limiter }

// heed is what is done with a control message.
type heed int

const (
	heard   heed = iota
	unheard      // there have been too many of late
	flooded      // … and far too many
)

// take says what is done with a control message that has come.
func (b *talk) take() heed {
	if b.in == nil {
		b.in, b.beyond = rate.NewLimiter(controlRate, controlBurst), rate.NewLimiter(controlRate, floodBurst)
	}
	switch {
	case b.in.Allow():
		return heard
	case b.beyond.Allow():
		return unheard
	}
	return flooded
}

// give says whether another's offer or answer may be handed on.
func (b *talk) give() bool {
	if b.out == nil {
		b.out = rate.NewLimiter(handRate, handBurst)
	}
	return b.out.Allow()
}

// handsOn says whether a message is sent for the sake of another's offer.
func handsOn(m tree.Message) bool {
	switch m.(type) {
	case tree.HandDown, tree.HandUp, tree.Reply, tree.NoRoom:
		return true
	}
	return false
}

// leaveFlooder cuts the link with a node that sends far too many control messages. For a while
// it gets no slot here and is not listened to.
func (n *Node) leaveFlooder(id tree.NodeID, p *peerLink) {
	n.log.Warn("a neighbour that floods this node is left for a while", "peer", peer.ID(id))
	for _, s := range n.streams {
		s.step(tree.Unwelcome{Peer: id, For: forAWhile})
	}
	n.distrust(id, time.Now().Add(forAWhile))
	n.lose(id, p)
}
