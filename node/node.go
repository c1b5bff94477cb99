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
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/pion/transport/v4"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/link"
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
	Signal       dht.Signal // "": both
	Slots        int        // children a stream; 0: tree.DefaultSlots, negative: none (--no-relay)
	MediaPortMin uint16     // 0: any port
	MediaPortMax uint16
	HistoryBytes int // a stream; 0: 16 MiB
	Version      string
	Log          *slog.Logger

	Net    transport.Net         // tests: the network of media links
	Libp2p []libp2p.Option       // tests: more libp2p options
	Tap    func(*stream.History) // tests: given the history of each stream when it is made; must not block
}

// lastWords is how long the end of a stream of our own is given to reach the children.
const lastWords = 200 * time.Millisecond

// leaveTime bounds a polite leave (INTERFACE: SIGTERM to exit within 3 s).
const leaveTime = 2800 * time.Millisecond

// Node is a running node. Its loop owns every field below the line.
type Node struct {
	cfg   Config
	log   *slog.Logger
	start time.Time
	host  *dht.Host
	links *link.Engine

	inbox  chan func()
	ctx    context.Context // of tasks; ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	done   chan struct{} // the loop has ended

	mu   sync.Mutex // guards rtsp, the only thing outside the loop
	rtsp []*rtsp.Server

	// ---- owned by the loop ----
	rooms   map[peer.ID]*room
	streams map[stream.ID]*live
	peers   map[tree.NodeID]*peerLink
	forgers map[tree.NodeID]time.Time // nodes that were caught forging, and when
}

// New starts the node: libp2p host, link engine, loop. Close it.
func New(ctx context.Context, cfg Config) (*Node, error) {
	start := time.Now()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	host, err := dht.New(ctx, dht.Config{
		Key: cfg.Key, Listen: cfg.Listen, Bootstrap: cfg.Bootstrap, Remembered: cfg.Remembered, Volunteer: cfg.Volunteer,
		MDNS: cfg.MDNS, Signal: cfg.Signal, Libp2p: cfg.Libp2p, Log: cfg.Log.With("part", "dht"),
	})
	if err != nil {
		return nil, err
	}
	links, err := link.NewEngine(link.Config{
		STUN: cfg.STUN, PortMin: cfg.MediaPortMin, PortMax: cfg.MediaPortMax,
		Loopback: loopbackOnly(cfg), Net: cfg.Net, Log: cfg.Log.With("part", "link"),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start media links: %w", err), host.Close())
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, start: start, host: host, links: links,
		inbox: make(chan func()), done: make(chan struct{}),
		rooms:   map[peer.ID]*room{},
		streams: map[stream.ID]*live{},
		peers:   map[tree.NodeID]*peerLink{},
		forgers: map[tree.NodeID]time.Time{},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	go n.loop()
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
	n.leave()
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

// leave asks every tree to let go of this node and waits until all have.
func (n *Node) leave() {
	left := make(chan struct{}, 1)
	n.sayLastWords()
	n.do(func() {
		for _, s := range n.streams {
			s.onLeft = func() {
				if n.allLeft() {
					left <- struct{}{}
				}
			}
			s.leaving = true
		}
		for _, s := range n.streams {
			s.step(tree.Leave{})
		}
		if len(n.streams) == 0 {
			left <- struct{}{}
		}
	})
	t := time.NewTimer(leaveTime)
	defer t.Stop()
	select {
	case <-left:
	case <-t.C:
	case <-n.done:
	}
}

// sayLastWords ends what this node publishes and lets the word go out.
func (n *Node) sayLastWords() {
	spoke := false
	n.do(func() {
		for _, s := range n.streams {
			if s.root() {
				s.finish("the speaker leaves")
				spoke = true
			}
		}
	})
	if !spoke {
		return
	}
	select {
	case <-time.After(lastWords):
	case <-n.done:
	}
}

func (n *Node) allLeft() bool {
	for _, s := range n.streams {
		if s.leaving {
			return false
		}
	}
	return true
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

// Ticket is the ticket of a room as this node would share it (its bootstrap nodes as
// hints, or itself if it has none).
func (n *Node) Ticket(r *dht.Room) dht.Ticket {
	t := dht.Ticket{Room: r.ID, Name: r.Name}
	for _, b := range n.cfg.Bootstrap {
		full, err := peer.AddrInfoToP2pAddrs(&b)
		if err == nil {
			t.Bootstrap = append(t.Bootstrap, full...)
		}
	}
	if len(t.Bootstrap) == 0 {
		t.Bootstrap = n.Addrs()
	}
	t.Bootstrap = t.Bootstrap[:min(len(t.Bootstrap), 4)]
	return t
}

// ServeRTSP serves RTSP on l: reading rtsp://HOST/ROOM or /current (?stream=ID), and
// publishing into rooms where Speak waits for RTSP input.
func (n *Node) ServeRTSP(l net.Listener) error {
	s, err := rtsp.Serve(l, rtsp.Config{
		Pick:   n.pickRTSP,
		Target: n.targetRTSP,
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
