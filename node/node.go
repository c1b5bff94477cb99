// Package node is where rooms, tree and media meet: one loop owns the state of a
// running wfnode; slow work runs in tasks whose results come back as events.
package node

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/pion/transport/v4"

	"github.com/watergy/waterfall/dht"
)

// Config for a Node. cmd/wfnode fills it from flags, environment and files.
type Config struct {
	Key          crypto.PrivKey // identity
	Listen       []ma.Multiaddr
	Bootstrap    []peer.AddrInfo
	STUN         []string // host:port; empty: none
	MDNS         bool
	Volunteer    bool // bootstrap node
	Signal       dht.Signal
	Slots        int // children per node; 0: tree.DefaultSlots, negative: none (--no-relay)
	MediaPortMin uint16
	MediaPortMax uint16
	HistoryBytes int // 0: 16 MiB
	Version      string
	Log          *slog.Logger

	Net    transport.Net   // tests: the network of media links
	Libp2p []libp2p.Option // tests: more libp2p options
}

// Node is a running node.
type Node struct{}

// New starts the node: libp2p host, link engine, loop. Close it.
func New(ctx context.Context, cfg Config) (*Node, error) { panic("skeleton") }

// Close leaves politely (children moved first, at most 3 s) and stops everything.
func (n *Node) Close() error { panic("skeleton") }

func (n *Node) ID() peer.ID           { panic("skeleton") }
func (n *Node) Addrs() []ma.Multiaddr { panic("skeleton") }

// Host gives the DHT side (room lists, putting a record, Bootstrapped).
func (n *Node) Host() *dht.Host { panic("skeleton") }

// SpeakConfig says what to publish.
type SpeakConfig struct {
	Room  *dht.Room
	Input string // "test", "whip", "rtsp"
}

// Speak publishes into a room until ctx ends or the input fails. WHIP input comes by
// the console, RTSP input by ServeRTSP's listener.
func (n *Node) Speak(ctx context.Context, c SpeakConfig) error { panic("skeleton") }

// JoinConfig says how to listen.
type JoinConfig struct {
	Room   *dht.Room
	Record string // file to record into
	Delay  time.Duration
}

// Join listens in a room and passes on until ctx ends.
func (n *Node) Join(ctx context.Context, c JoinConfig) error { panic("skeleton") }

// ServeRTSP serves RTSP on l: reading rtsp://HOST/ROOM or /current (?stream=ID), and
// publishing when Speak's input is rtsp.
func (n *Node) ServeRTSP(l net.Listener) error { panic("skeleton") }

// Status is the status document as of now.
func (n *Node) Status() Status { panic("skeleton") }

// Ticket is the ticket of a room as this node would share it (its bootstrap nodes as
// hints, or itself if it has none).
func (n *Node) Ticket(r *dht.Room) dht.Ticket { panic("skeleton") }

// WHIP and WHEP serve the console's POST /whip/{room} and /whep/{room} and what lies
// below; room may be "current".
func (n *Node) WHIP(room string) (http.Handler, error) { panic("skeleton") }
func (n *Node) WHEP(room string) (http.Handler, error) { panic("skeleton") }

// Healthy is nil while the node does its job (GET /healthz).
func (n *Node) Healthy() error { panic("skeleton") }
