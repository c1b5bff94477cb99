package tree

import "slices"

// In a room where several speak, each is the root of a tree of its own. They answer one
// another, so they stand next to each other: in every speaker's tree the others have the
// first claim to layer 1.

// maxSpeakers bounds SetSpeakers; a room has few.
const maxSpeakers = 64

// setSpeakers takes the room's other speakers.
func (p *Peer) setSpeakers(nodes []NodeID) {
	p.speakers = slices.Clone(nodes[:min(len(nodes), maxSpeakers)])
	if p.risesToRoot() {
		p.riseFails = 0
	}
}

func (p *Peer) isSpeaker(n NodeID) bool { return slices.Contains(p.speakers, n) }

// risesToRoot says that this node's place is below the root, and that it does not stand there.
func (p *Peer) risesToRoot() bool {
	return p.isSpeaker(p.cfg.Self) && (p.parent == "" || p.layer() > 1)
}

// keepsPlace says whether a child's place is its own. A speaker's is, unless layer 1 then
// held nobody who passes the stream on.
func (p *Peer) keepsPlace(c *child) bool {
	return p.cfg.Root && p.isSpeaker(c.node) && (c.slots > 0 || p.carriers(c) > 0)
}

// mayClaim says whether an offer's joiner may have the place of w because it speaks.
func (p *Peer) mayClaim(o Offer, w *child) bool {
	return p.cfg.Root && p.isSpeaker(o.Joiner) && (o.Slots > 0 || p.carriers(w) > 0)
}

// carriers counts the children with slots, without one.
func (p *Peer) carriers(without *child) (n int) {
	for _, c := range p.kids {
		if c != without && c.slots > 0 {
			n++
		}
	}
	return n
}
