package node

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/stream/link"
	"github.com/watergy/waterfall/tree"
)

// maxForgers bounds the memory of nodes that forged; the oldest is forgotten first.
const maxForgers = 1024

var errNotEd25519 = errors.New("not an Ed25519 identity, which streams are signed with")

// signingKey is the node's identity in the form that signs streams.
func signingKey(k crypto.PrivKey) (ed25519.PrivateKey, error) {
	raw, err := k.Raw()
	if err != nil {
		return nil, fmt.Errorf("identity key: %w", err)
	}
	if k.Type() != crypto.Ed25519 || len(raw) != ed25519.PrivateKeySize {
		return nil, errNotEd25519
	}
	return ed25519.PrivateKey(raw), nil
}

// checkingKey is the key that the streams of a speaker are checked with.
func checkingKey(speaker peer.ID) (ed25519.PublicKey, error) {
	k, err := speaker.ExtractPublicKey()
	if err != nil {
		return nil, fmt.Errorf("speaker's key: %w", err)
	}
	raw, err := k.Raw()
	if err != nil {
		return nil, fmt.Errorf("speaker's key: %w", err)
	}
	if k.Type() != crypto.Ed25519 || len(raw) != ed25519.PublicKeySize {
		return nil, errNotEd25519
	}
	return ed25519.PublicKey(raw), nil
}

// leaveForger cuts the link with a node that was caught forging, and remembers it: it
// may still listen by us, but is not listened to again by any stream of this node.
func (n *Node) leaveForger(id tree.NodeID, p *peerLink, ev link.Event) {
	log := n.log
	if s := n.streams[ev.Stream]; s != nil {
		log = s.logger()
	}
	log.Warn("a relay is left for good", "peer", peer.ID(id), "why", ev.Err)
	if len(n.forgers) >= maxForgers {
		oldest, first := tree.NodeID(""), time.Now()
		for other, at := range n.forgers {
			if at.Before(first) {
				oldest, first = other, at
			}
		}
		delete(n.forgers, oldest)
	}
	n.forgers[id] = time.Now()
	n.lose(id, p)
}

// distrusted says whether a node has been caught forging.
func (n *Node) distrusted(id tree.NodeID) bool {
	_, ok := n.forgers[id]
	return ok
}
