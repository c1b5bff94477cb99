package dht

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	recordlib "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	kadPrefix = protocol.ID("/" + namespace)
	kadProto  = kadPrefix + "/kad/1.0.0"
	// relayProto marks a volunteer: what it subscribes to, it only relays.
	relayProto = protocol.ID("/" + namespace + "/relay/1.0.0")

	mdnsService = "_waterfall._udp"
	mdnsPeers   = 64

	// walkLook is how often it is looked whether we have become a DHT server.
	walkLook = 5 * time.Second

	// provideLife is how long a server remembers a provider: two member buckets.
	provideLife = 2 * memberBucket
)

// Host is this node's place in the DHT and in gossip.
type Host struct {
	cfg    Config
	log    *slog.Logger
	key    ed25519.PrivateKey
	self   pubKey
	box    *ecdh.PrivateKey // of this run: what is said to us alone is sealed to it, in all rooms
	host   host.Host
	kad    *kaddht.IpfsDHT
	bytes  traffic
	clock  clock
	clocks clocks

	circuits *circuit.Relay // nil: we relay no connections
	router   *router        // nil: none is asked for ports
	anew     anewGate
	gossip
	pool pool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	byTCP bool          // TCP is spoken
	ready chan struct{} // closed when the first bootstrap node is connected
	table chan struct{} // closed when the routing table got its first peer
	once  struct{ ready, table, walk, server sync.Once }

	mdnsMu sync.Mutex // guards mdns
	mdns   io.Closer  // nil: not started

	mu        sync.Mutex
	boot      []*bootstrap
	moved     chan struct{} // closed and replaced by Moved
	returned  chan struct{} // closed and replaced when a bootstrap node is back
	mdnsFound map[peer.ID]bool
	rooms     map[peer.ID]bool // rooms we are in
	present   map[*Presence]struct{}
}

// New starts a host. Unreachable bootstrap nodes are retried in the background; see Bootstrapped.
func New(ctx context.Context, cfg Config) (*Host, error) {
	key, err := edKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("starting the host: %w", err)
	}
	switch cfg.Signal {
	case "":
		cfg.Signal = Both
	case Both, Gossip, DHT:
	default:
		return nil, fmt.Errorf("signal %q is not known (hint: both, gossip or dht)", cfg.Signal)
	}
	if len(cfg.Libp2p) == 0 {
		if err := checkListen(cfg.Listen); err != nil {
			return nil, err
		}
	}
	box, err := ecdh.X25519().GenerateKey(crand.Reader)
	if err != nil {
		return nil, fmt.Errorf("starting the host: %w", err)
	}
	h := &Host{
		cfg: cfg, log: cfg.Log, key: key, self: publicOf(key), box: box,
		ready: make(chan struct{}), table: make(chan struct{}),
		moved: make(chan struct{}), returned: make(chan struct{}), mdnsFound: map[peer.ID]bool{}, rooms: map[peer.ID]bool{},
		present: map[*Presence]struct{}{},
		pool:    newPool(), clock: clock{skew: cfg.skew},
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.host, err = libp2p.New(append(slices.Clone(cfg.Libp2p), h.options)...); err != nil {
		return nil, fmt.Errorf("starting the host: %w (hint: is another program using the port? --listen chooses another)", oneLine(err))
	}
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := h.start(); err != nil {
		return nil, fmt.Errorf("starting the host: %w", errors.Join(err, h.Close()))
	}
	return h, nil
}

// oneLine makes libp2p's multi-line errors fit for a person.
func oneLine(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}

func (h *Host) start() error {
	memory := nodeMemory
	mode := kaddht.ModeAuto
	if h.cfg.Volunteer {
		memory = volunteerMemory
	}
	if h.cfg.Metered {
		mode = kaddht.ModeClient
	}
	if h.cfg.Volunteer || len(h.cfg.Bootstrap) == 0 && len(h.cfg.Remembered) == 0 {
		// Without a bootstrap node there is nobody else who could keep records: laptops
		// on one LAN, or a speaker whose own address is in the ticket.
		mode = kaddht.ModeServer
	}
	var err error
	// The light profile: kad-dht's defaults are near full mesh below a few hundred nodes.
	h.kad, err = kaddht.New(h.host, append(slices.Clone(h.cfg.Kad),
		kaddht.ProtocolPrefix(kadPrefix), kaddht.WithCustomMessageSender(newSender),
		kaddht.Mode(mode),
		kaddht.BucketSize(8), kaddht.Concurrency(3), kaddht.Resiliency(2),
		kaddht.DisableAutoRefresh(),
		kaddht.Validator(recordlib.NamespacedValidator{namespace: validator{h.clock.now}}),
		kaddht.ValueDatastore(newStore(memory, recordLife)),
		kaddht.ProviderDatastore(newStore(memory, func([]byte) time.Duration { return provideLife })),
		kaddht.MaxRecordAge(0), // our store knows each record's life
		kaddht.ProviderManagerOpts(records.ProvideValidity(provideLife), records.CleanupInterval(0), records.ProviderAddrTTL(provideLife)),
	)...)
	if err != nil {
		return err
	}
	if err := h.startGossip(); err != nil {
		return err
	}
	if h.cfg.Signal == Both {
		h.serveDirect()
	}
	if h.cfg.Volunteer {
		h.serveUplink()
		if err := h.serveCircuits(); err != nil {
			return err
		}
	}
	down, err := h.host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged))
	if err != nil {
		return err
	}
	for _, ai := range h.cfg.Bootstrap {
		h.addBootstrap(ai)
	}
	if len(h.bootstraps()) == 0 && len(h.cfg.Remembered) == 0 {
		h.once.ready.Do(func() { close(h.ready) })
	}
	h.wg.Go(func() { h.watchPeers(down) })
	h.anew.begin(h.host.Network())
	if h.router != nil {
		h.wg.Go(func() { h.router.look(h.ctx) })
	}
	if len(h.cfg.Remembered) > 0 {
		h.wg.Go(h.rescue)
	}
	if h.cfg.MDNS {
		h.startMDNS()
	}
	return nil
}

// watchPeers tells of lost peers until Close.
func (h *Host) watchPeers(sub event.Subscription) {
	defer sub.Close()
	for {
		select {
		case <-h.ctx.Done():
			return
		case e, ok := <-sub.Out():
			if !ok {
				return
			}
			ev := e.(event.EvtPeerConnectednessChanged)
			if ev.Connectedness == network.Connected {
				continue
			}
			h.book.forget(ev.Peer)
			for _, b := range h.bootstraps() {
				if b.ID == ev.Peer {
					notify(b.kick)
				}
			}
		}
	}
}

// walk makes a DHT server known to those nearest to it, as soon as it is one. Who only asks
// finds its way from whoever it knows, and needs no more connections than that takes.
func (h *Host) walk() {
	for !h.serves() {
		if !sleep(h.ctx, walkLook) { // kad-dht tells nobody when it begins to serve
			return
		}
	}
	ctx, cancel := context.WithTimeout(h.ctx, time.Minute)
	defer cancel()
	_, _ = h.kad.GetClosestPeers(ctx, string(h.host.ID()))
}

// serves says whether we are a DHT server.
func (h *Host) serves() bool { return slices.Contains(h.host.Mux().Protocols(), kadProto) }

// reach connects to a DHT server that we were told of, and puts it into the routing
// table at once: kad-dht's own check would cost a joiner another round trip.
func (h *Host) reach(ctx context.Context, ai peer.AddrInfo) error {
	if h.host.Network().Connectedness(ai.ID) != network.Connected {
		if h.byTCP {
			ai = sidedoors(ai)
		}
		if err := h.host.Connect(ctx, ai); err != nil {
			return fmt.Errorf("%s: %w", ai.ID, oneLine(err))
		}
		// QUIC turns newcomers away when more than 32 come at the same moment, after what
		// looks to them like success.
		if h.host.Network().Connectedness(ai.ID) != network.Connected {
			return fmt.Errorf("%s: the connection was closed at once", ai.ID)
		}
	}
	h.tabulate(ai.ID)
	if h.kad.RoutingTable().Size() > 0 {
		h.once.table.Do(func() { close(h.table) })
	}
	return nil
}

// found gets what mDNS found; an own type keeps the method off Host.
type found struct{ h *Host }

// HandlePeerFound implements mdns.Notifee.
func (f found) HandlePeerFound(ai peer.AddrInfo) {
	h := f.h
	h.mu.Lock()
	skip := ai.ID == h.host.ID() || h.mdnsFound[ai.ID] || len(h.mdnsFound) >= mdnsPeers || h.ctx.Err() != nil
	if !skip {
		h.mdnsFound[ai.ID] = true
		h.wg.Add(1)
	}
	h.mu.Unlock()
	if skip {
		return
	}
	go func() {
		defer h.wg.Done()
		ctx, cancel := context.WithTimeout(h.ctx, 10*time.Second)
		defer cancel()
		err := h.reach(ctx, ai)
		if err != nil {
			h.mu.Lock()
			delete(h.mdnsFound, ai.ID)
			h.mu.Unlock()
			return
		}
		h.host.ConnManager().Protect(ai.ID, "mdns")
		if len(h.bootstraps()) > 0 && !h.bootConnected() {
			h.serve()
		}
	}()
}

// serve makes a DHT server of a node that has neighbours on its LAN and no bootstrap
// node. kad-dht changes its mode only by this event.
func (h *Host) serve() {
	h.once.server.Do(func() {
		em, err := h.host.EventBus().Emitter(new(event.EvtLocalReachabilityChanged))
		if err != nil {
			return
		}
		defer em.Close()
		_ = em.Emit(event.EvtLocalReachabilityChanged{Reachability: network.ReachabilityPublic})
	})
}

// awaitTable waits until there is somebody in the DHT to ask, at most for d; a host
// that knows no way to others does not wait.
func (h *Host) awaitTable(ctx context.Context, d time.Duration) bool {
	if len(h.bootstraps()) == 0 && len(h.cfg.Remembered) == 0 && !h.cfg.MDNS {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	// Peers that we did not choose get into the table by kad-dht's own ways, which tell
	// nobody, hence the ticks.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for table := h.table; h.kad.RoutingTable().Size() == 0; {
		select {
		case <-table:
			table = nil
		case <-tick.C:
			h.refill()
		case <-ctx.Done():
			return false
		case <-h.ctx.Done():
			return false
		}
	}
	return true
}

// ID is the peer ID of the host.
func (h *Host) ID() peer.ID { return h.host.ID() }

// Addrs are the full addresses, ending in /p2p/ID, QUIC's first.
func (h *Host) Addrs() []ma.Multiaddr {
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: h.host.ID(), Addrs: byLiking(slices.Clone(h.host.Addrs()))})
	if err != nil {
		return nil // our own ID is valid
	}
	return addrs
}

// Close stops the host and waits for its goroutines. Leave rooms before.
func (h *Host) Close() error {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	var errs []error
	h.mdnsMu.Lock()
	if h.mdns != nil {
		errs = append(errs, h.mdns.Close())
		h.mdns = nil
	}
	h.mdnsMu.Unlock()
	h.wg.Wait()
	if h.circuits != nil {
		errs = append(errs, h.circuits.Close())
	}
	if h.kad != nil {
		errs = append(errs, h.kad.Close())
	}
	return errors.Join(append(errs, h.host.Close())...)
}

// backoff gives growing waits with jitter (±20%).
type backoff struct{ first, most, cur time.Duration }

func (b *backoff) reset() { b.cur = 0 }

func (b *backoff) next() time.Duration {
	b.cur = min(max(b.first, b.cur*2), b.most)
	return jitter(b.cur)
}

func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// sleep waits for d; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// notify wakes who waits on c, which has room for one.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
