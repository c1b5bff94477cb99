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

const (
	maxForgers = 1024            // nodes remembered; the one that may soonest be taken again is forgotten first
	forAWhile  = 5 * time.Minute // a relay that kept packets back is not taken again
	forGood    = 100 * 365 * 24 * time.Hour
)

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
// may still listen by us, but is not listened to again by any stream of this node. One that
// only keeps packets back, for which it may have a reason, is listened to after a while; to
// the speaker itself there is nothing better.
func (n *Node) leaveForger(id tree.NodeID, p *peerLink, ev link.Event) {
	s := n.streams[ev.Stream]
	if s == nil {
		return
	}
	until := time.Now().Add(forGood)
	if errors.Is(ev.Err, link.ErrKeptBack) {
		if peer.ID(id) == s.speaker {
			return
		}
		until = time.Now().Add(forAWhile)
		s.logger().Warn("a relay is left for a while", "peer", peer.ID(id), "why", ev.Err)
	} else {
		s.logger().Warn("a relay is left for good", "peer", peer.ID(id), "why", ev.Err)
	}
	n.distrust(id, until)
	n.lose(id, p)
}

// distrust has the streams of this node listen to another no more until then.
func (n *Node) distrust(id tree.NodeID, until time.Time) {
	if len(n.forgers) >= maxForgers {
		var soonest tree.NodeID
		for other, at := range n.forgers {
			if soonest == "" || at.Before(n.forgers[soonest]) {
				soonest = other
			}
		}
		delete(n.forgers, soonest)
	}
	if until.After(n.forgers[id]) {
		n.forgers[id] = until
	}
}

// distrusted says whether a node has been caught forging, or keeping packets back of late.
func (n *Node) distrusted(id tree.NodeID) bool { return time.Now().Before(n.forgers[id]) }
