// Package node is where rooms, tree and media meet: one loop owns the state of a
// running wfnode; slow work runs in tasks whose results come back to the loop.
//
// What decides lives in tree, what finds in dht, what moves media in stream; this
// package only carries events from the one to the actions of the other.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/pion/transport/v4"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/link"
	"github.com/watergy/waterfall/stream/playback"
	"github.com/watergy/waterfall/stream/rtsp"
	"github.com/watergy/waterfall/tree"
)

// Config for a Node. cmd/wfnode fills it from flags, environment and files.
type Config struct {
	Key          crypto.PrivKey // identity, Ed25519
	Listen       []ma.Multiaddr // none: any free port on every address
	Bootstrap    []peer.AddrInfo
	Remembered   []peer.AddrInfo // of earlier runs, for when no bootstrap node answers
	STUN         []string        // host:port; none: only local addresses are offered
	MDNS         bool
	Volunteer    bool       // bootstrap node
	Metered      bool       // traffic costs: serve others no more than must be
	OwnOnly      bool       // pass on only what this node speaks itself (--no-relay)
	Signal       dht.Signal // "": both
	Slots        int        // children a stream; 0: as the uplink is found to carry, negative: none
	Uplink       float64    // bits a second that may be sent; 0: unknown
	MediaPortMin uint16     // 0: any port
	MediaPortMax uint16
	MapPorts     bool   // ask the router to open our ports (UPnP, NAT-PMP), unless all is on this machine
	HistoryBytes int    // a stream; 0: 16 MiB
	Viewers      int    // browsers and players that are played to; 0: 256, negative: none
	Recordings   string // folder of what Record writes; empty: it refuses
	Version      string
	Log          *slog.Logger

	Net    transport.Net         // tests: the network of media links
	Libp2p []libp2p.Option       // tests: more libp2p options
	Gossip []pubsub.Option       // tests: tracers
	Kad    []kaddht.Option       // tests: tracers
	Tap    func(*stream.History) // tests: given the history of each stream when it is made; must not block
}

// Node is a running node. Its loop owns every field below the line.
type Node struct {
	cfg   Config
	log   *slog.Logger
	start time.Time
	host  *dht.Host
	links *link.Engine
	seats *playback.Seats

	inbox  chan func()
	ctx    context.Context // of tasks; ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	done   chan struct{} // the loop has ended
	moved  chan struct{} // a token after each move, for who asks what NAT this is

	rerouted chan struct{} // the same, for who asks the router for ports
	openings atomic.Pointer[openings]

	mu   sync.Mutex // guards rtsp, the only thing outside the loop
	rtsp []*rtsp.Server

	// ---- owned by the loop ----
	rooms   map[peer.ID]*room
	streams map[stream.ID]*live
	peers   map[tree.NodeID]*peerLink
	forgers map[tree.NodeID]time.Time // nodes not to be listened to, and until when
	nat     link.NAT                  // what we sit behind
	seen    netip.Addr                // as the others see us; zero: unknown
	opened  *int                      // media ports that the router lets in; nil: no router was found
	reach   tree.Reach                // the same as others are told it
}

// New starts the node: libp2p host, link engine, loop. Close it.
func New(ctx context.Context, cfg Config) (*Node, error) {
	start := time.Now()
	cfg.MapPorts = cfg.MapPorts && !loopbackOnly(cfg)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	host, err := dht.New(ctx, dht.Config{
		Key: cfg.Key, Listen: cfg.Listen, Bootstrap: cfg.Bootstrap, Remembered: cfg.Remembered, Volunteer: cfg.Volunteer, Metered: cfg.Metered,
		MDNS: cfg.MDNS, MapPorts: cfg.MapPorts, Signal: cfg.Signal, Libp2p: cfg.Libp2p, Gossip: cfg.Gossip, Kad: cfg.Kad, Log: cfg.Log.With("part", "dht"),
	})
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, start: start, host: host, seats: playback.NewSeats(cfg.Viewers),
		inbox: make(chan func()), done: make(chan struct{}), moved: make(chan struct{}, 1), rerouted: make(chan struct{}, 1),
		rooms:   map[peer.ID]*room{},
		streams: map[stream.ID]*live{},
		peers:   map[tree.NodeID]*peerLink{},
		forgers: map[tree.NodeID]time.Time{},
	}
	n.links, err = link.NewEngine(link.Config{
		STUN: cfg.STUN, PortMin: cfg.MediaPortMin, PortMax: cfg.MediaPortMax, Outside: n.outside,
		Loopback: loopbackOnly(cfg), Net: cfg.Net, Log: cfg.Log.With("part", "link"),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start media links: %w", err), host.Close())
	}
	n.links.SetUplink(uint64(max(0, cfg.Uplink)), true)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	go n.loop()
	n.watchNAT()
	n.watchRouter()
	if cfg.Net == nil {
		n.task(func(ctx context.Context) func() { n.watchNetwork(ctx); return nil })
	}
	return n, nil
}

// loopbackOnly says that this node lives on this machine alone, as the demo's do:
// then links are offered on the loopback addresses too.
func loopbackOnly(cfg Config) bool {
	for _, a := range cfg.Listen {
		if manet.IsIPLoopback(a) {
			return true
		}
	}
	for _, b := range cfg.Bootstrap {
		for _, a := range b.Addrs {
			if manet.IsIPLoopback(a) {
				return true
			}
		}
	}
	return false
}

// Close leaves politely (children moved first, at most 3 s) and stops everything.
func (n *Node) Close() error {
	n.part(func(*live) bool { return true })
	n.mu.Lock()
	servers := n.rtsp
	n.rtsp = nil
	n.mu.Unlock()
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	n.cancel()
	<-n.done
	n.tasks.Wait()
	n.closeRooms()
	return errors.Join(append(errs, n.links.Close(), n.host.Close())...)
}

// closeRooms runs after the loop has ended.
func (n *Node) closeRooms() {
	for _, s := range n.streams {
		s.hist.End()
	}
	for _, r := range n.rooms {
		r.close()
	}
}

func (n *Node) ID() peer.ID           { return n.host.ID() }
func (n *Node) Addrs() []ma.Multiaddr { return n.host.Addrs() }

// Host gives the DHT side (room lists, putting a record, Bootstrapped).
func (n *Node) Host() *dht.Host { return n.host }

// Healthy is nil while the node does its job (GET /healthz).
func (n *Node) Healthy() error {
	select {
	case <-n.done:
		return errors.New("the node is stopping")
	default:
	}
	if len(n.cfg.Bootstrap) > 0 && n.host.Stats().Connected == 0 {
		return errors.New("no peer is connected")
	}
	return nil
}

// Ticket is the ticket of a room as this node would share it, with the bootstrap nodes by
// which it came to the room, or else its own, or itself if it has none.
func (n *Node) Ticket(r *dht.Room, hints ...peer.AddrInfo) dht.Ticket {
	t := dht.Ticket{Room: r.ID, Name: r.Name}
	if len(hints) == 0 {
		hints = n.cfg.Bootstrap
	}
	for _, b := range hints {
		full, err := peer.AddrInfoToP2pAddrs(&b)
		if err == nil {
			t.Bootstrap = append(t.Bootstrap, full...)
		}
	}
	if len(t.Bootstrap) == 0 {
		t.Bootstrap = forOthers(n.Addrs())
	}
	t.Bootstrap = t.Bootstrap[:min(len(t.Bootstrap), 4)]
	return t
}

// forOthers puts a node's addresses of loopback behind those that other machines reach.
func forOthers(all []ma.Multiaddr) []ma.Multiaddr {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b ma.Multiaddr) int { return b2i(manet.IsIPLoopback(a)) - b2i(manet.IsIPLoopback(b)) })
	return sorted
}

// ServeRTSP serves RTSP on l: reading rtsp://HOST/ROOM or /current (?stream=ID), and
// publishing into rooms where Speak waits for RTSP input.
func (n *Node) ServeRTSP(l net.Listener) error {
	s, err := rtsp.Serve(l, rtsp.Config{
		Pick:   n.pickRTSP,
		Target: n.targetRTSP,
		Seats:  n.seats,
		Log:    n.log.With("part", "rtsp"),
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.rtsp = append(n.rtsp, s)
	n.mu.Unlock()
	return nil
}

// WHIP serves the console's POST /whip/{room} and what lies below; room may be "current".
func (n *Node) WHIP(room string) (http.Handler, error) {
	return onLoop(n, func() (http.Handler, error) {
		r, err := n.findRoom(room)
		if err != nil {
			return nil, err
		}
		return r.whipHandler()
	})
}

// WHEP serves the console's POST /whep/{room} and what lies below; room may be "current".
func (n *Node) WHEP(room string) (http.Handler, error) {
	return onLoop(n, func() (http.Handler, error) {
		r, err := n.findRoom(room)
		if err != nil {
			return nil, err
		}
		return r.whepHandler()
	})
}
