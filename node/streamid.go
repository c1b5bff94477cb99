package node

import (
	"crypto/rand"
	"crypto/sha256"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/stream"
)

// A stream ID names its speaker, so that no other member can announce it as its own:
// 8 random bytes, then the first 8 of SHA-256("waterfall stream" ‖ 0 ‖ speaker's peer
// ID ‖ the random bytes). To fit another speaker to an ID takes 2^64 hashes.

// randomPart is how much of a stream ID is drawn at each start.
const randomPart = 8

// newStreamID draws an ID whose tag differs from those of the streams known here.
func (n *Node) newStreamID() stream.ID {
	for {
		var id stream.ID
		rand.Read(id[:randomPart])
		bindStreamID(&id, n.ID())
		taken := false
		for other := range n.streams {
			taken = taken || other.Tag() == id.Tag()
		}
		if !taken {
			return id
		}
	}
}

func bindStreamID(id *stream.ID, speaker peer.ID) {
	h := sha256.New()
	h.Write([]byte("waterfall stream\x00"))
	h.Write([]byte(speaker))
	h.Write(id[:randomPart])
	copy(id[randomPart:], h.Sum(nil))
}

// belongsTo says whether id can be a stream of this speaker.
func belongsTo(id stream.ID, speaker peer.ID) bool {
	bound := id
	bindStreamID(&bound, speaker)
	return bound == id
}
