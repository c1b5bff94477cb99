// Package dht finds: rooms, their members, who has room for a joiner, and the way
// to connect to it. It owns the libp2p host, the Kademlia DHT under /waterfall with
// its validators, and the gossipsub topics; every record is signed by its writer and
// sealed for the room. It knows no media and no tree: offers and answers carry opaque bytes.
//
// The byte layouts are in docs/protocol-dht.md; testdata/vectors.txt holds examples.
package dht

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p"
	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Signal is the carrier of heads, offers and answers: both unless testing one alone.
// With Gossip the DHT only finds rooms and peers; with DHT nothing is said over gossip.
type Signal string

const (
	Both   Signal = "both"
	Gossip Signal = "gossip"
	DHT    Signal = "dht"
	// Direct is no choice but what Both does too between nodes that are connected (Offer.Via).
	Direct Signal = "direct"
)

// Config for a Host.
type Config struct {
	Key       crypto.PrivKey // Ed25519
	Listen    []ma.Multiaddr // none: QUIC on any free port
	Bootstrap []peer.AddrInfo
	// Remembered are peers of earlier runs (GoodPeers), for when no bootstrap node answers.
	Remembered []peer.AddrInfo
	Volunteer  bool // bootstrap node: DHT server, topic relay, wide limits
	Metered    bool // traffic costs: no DHT server unless nobody else can be
	MDNS       bool
	MapPorts   bool            // ask the router to open our ports (UPnP, NAT-PMP)
	Signal     Signal          // "" means Both
	Libp2p     []libp2p.Option // tests: transports, resource manager, …; what they set, we leave alone
	Gossip     []pubsub.Option // tests: tracers
	Kad        []kaddht.Option // tests: tracers
	Log        *slog.Logger    // nil: nothing is logged

	skew time.Duration // tests: how wrong this host's clock is
}

var (
	// ErrNoRoom: the DHT answered, and holds no such room.
	ErrNoRoom = errors.New("no such room in the DHT (hint: check the ticket; the room's creator or a member must have put its record within the last 30 days)")
	// ErrNotReached: nobody in the DHT could be asked.
	ErrNotReached = errors.New("nobody in the DHT could be asked (hint: check --bootstrap and the network)")
	// ErrClosedRoom: the room admits by password or key, and none was given.
	ErrClosedRoom = errors.New("the room is closed")
	// ErrNeedsPassword and ErrNeedsKey say which.
	ErrNeedsPassword = fmt.Errorf("%w: it needs a password (hint: --password-file FILE, or - to be asked)", ErrClosedRoom)
	ErrNeedsKey      = fmt.Errorf("%w: it needs an OpenPGP key (hint: --pgp-key FILE, or --gpg)", ErrClosedRoom)
	// ErrRefused: the password is wrong, the key is not admitted, or this node may not speak.
	ErrRefused = errors.New("refused")
)
