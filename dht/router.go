package dht

import (
	"context"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/watergy/waterfall/dht/natpmp"
)

// routerGoodbye is how long a router may take to close our ports again when we leave. What
// it does not close lapses after a minute or two.
const routerGoodbye = 500 * time.Millisecond

// router has the ports on which this host listens opened by the network's router, where that
// speaks UPnP, which libp2p's own manager does, or NAT-PMP; after a move, by the router of
// the other network. It is a basichost.NATManager.
type router struct {
	net network.Network

	mu    sync.Mutex // guards what follows
	upnp  basichost.NATManager
	pmp   *natpmp.Router // nil: none is found
	moves int
}

// routerOption lets the host have a router, if it is to.
func (h *Host) routerOption() libp2p.Option {
	if !h.cfg.MapPorts {
		return libp2p.ChainOptions()
	}
	return libp2p.NATManager(func(n network.Network) basichost.NATManager {
		h.router = &router{net: n, upnp: basichost.NewNATManager(n)}
		return h.router
	})
}

func (r *router) both() (basichost.NATManager, *natpmp.Router) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.upnp, r.pmp
}

// look asks for a router that speaks NAT-PMP, once the host listens.
func (r *router) look(ctx context.Context) {
	r.mu.Lock()
	moves := r.moves
	r.mu.Unlock()
	pmp, err := natpmp.Find(ctx)
	if err != nil {
		return // most networks have none
	}
	for _, a := range r.net.ListenAddresses() {
		if protocol, port, ok := portOf(a); ok {
			_ = pmp.AddMapping(ctx, protocol, port) // only what is no port is refused
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moves != moves || ctx.Err() != nil {
		go pmp.Close() //nolint:errcheck // it lapses
		return
	}
	r.pmp = pmp
}

// portOf is the port of an IPv4 address to listen on that others may come to.
func portOf(a ma.Multiaddr) (protocol string, port int, ok bool) {
	if len(a) < 2 || a[0].Protocol().Code != ma.P_IP4 || manet.IsIPLoopback(a) {
		return "", 0, false
	}
	port, err := strconv.Atoi(a[1].Value())
	return a[1].Protocol().Name, port, err == nil && port > 0
}

// GetMapping implements basichost.NATManager.
func (r *router) GetMapping(a ma.Multiaddr) ma.Multiaddr {
	upnp, pmp := r.both()
	if protocol, port, ok := portOf(a); ok && pmp != nil {
		if at, ok := pmp.GetMapping(protocol, port); ok {
			outer, err := ma.NewMultiaddr("/ip4/" + at.Addr().String() + "/" + protocol + "/" + strconv.Itoa(int(at.Port())))
			if err == nil {
				return append(outer, a[2:]...)
			}
		}
	}
	return upnp.GetMapping(a)
}

// HasDiscoveredNAT implements basichost.NATManager.
func (r *router) HasDiscoveredNAT() bool {
	upnp, pmp := r.both()
	return pmp != nil || upnp.HasDiscoveredNAT()
}

// Close implements basichost.NATManager. A router that is gone is not waited for.
func (r *router) Close() error {
	r.mu.Lock()
	r.moves++ // what look finds now is closed
	upnp, pmp := r.upnp, r.pmp
	r.mu.Unlock()
	closed := make(chan struct{}, 2)
	last := []io.Closer{upnp}
	if pmp != nil {
		last = append(last, pmp)
	}
	for _, c := range last {
		go func() {
			_ = c.Close() // what is not closed lapses
			closed <- struct{}{}
		}()
	}
	late := time.After(routerGoodbye)
	for range last {
		select {
		case <-closed:
		case <-late:
			return nil
		}
	}
	return nil
}

// moved looks for another router.
func (r *router) moved(ctx context.Context) {
	r.mu.Lock()
	upnp, pmp := r.upnp, r.pmp
	r.upnp, r.pmp = basichost.NewNATManager(r.net), nil
	r.moves++
	r.mu.Unlock()
	go upnp.Close() //nolint:errcheck // always nil
	if pmp != nil {
		go pmp.Close() //nolint:errcheck // it lapses
	}
	r.look(ctx)
}
