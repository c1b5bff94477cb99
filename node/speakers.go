package node

import (
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/tree"
)

// tellSpeakers tells every tree of the room who else speaks here: they stand next to each
// other. Only streams that were announced by those who may speak are counted.
func (r *room) tellSpeakers() {
	for _, s := range r.streams {
		var others []tree.NodeID
		for _, o := range r.sorted() {
			if o != s && !o.ended && o.speaker != s.speaker {
				others = append(others, tree.NodeID(o.speaker))
			}
		}
		s.step(tree.SetSpeakers{Nodes: others})
	}
}

// outdated says whether a head of a stream that is not known was said before the newest of
// another stream of that speaker.
func (r *room) outdated(h dht.Head) bool {
	for _, s := range r.streams {
		if s.speaker == h.Speaker && h.Said < s.said {
			return true
		}
	}
	return false
}

// supersede ends what a speaker was saying when it begins anew: it has one stream in a room,
// so it was started again, or has lost its input without a word.
func (r *room) supersede(speaker peer.ID) {
	for _, s := range r.streams {
		if s.speaker == speaker && !s.root() {
			s.end("its speaker has begun anew")
		}
	}
}
