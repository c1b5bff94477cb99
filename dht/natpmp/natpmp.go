// Package natpmp has a router that speaks NAT-PMP (RFC 6886) open UDP and TCP ports for this
// machine, and keeps them open. go-libp2p does so too, but go-libp2p v0.51.0 asks go-netroute v0.4.0 for
// the way to 0.0.0.0, which that refuses on Linux, and so finds no such router.
package natpmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	pmp "github.com/jackpal/go-nat-pmp"
	"github.com/libp2p/go-netroute"
)

const (
	life   = 2 * time.Minute // of an opening; RFC 6886 recommends more, but who is gone shall soon be forgotten
	renew  = life / 3
	answer = 2 * time.Second // for the router
)

// elsewhere is an address that is on no LAN (RFC 5737): the way there leads by the router.
// Nothing is sent to it.
var elsewhere = net.IPv4(192, 0, 2, 1)

// opening is a port of ours.
type opening struct {
	protocol string // udp or tcp
	port     uint16
}

// Router is the default gateway, which has answered.
type Router struct {
	client *pmp.Client
	cancel context.CancelFunc
	done   chan struct{} // renewal has ended

	mu    sync.Mutex // guards what follows
	outer netip.Addr
	open  map[opening]uint16 // the router's port; 0: it refused last time
}

// Find asks the default gateway; it takes 2 s at most, and ms where it speaks NAT-PMP.
func Find(ctx context.Context) (*Router, error) {
	routes, err := netroute.New()
	if err != nil {
		return nil, fmt.Errorf("look for the router: %w", err)
	}
	_, gateway, _, err := routes.Route(elsewhere)
	if err != nil {
		return nil, fmt.Errorf("look for the router: %w", err)
	}
	if gateway == nil || gateway.IsUnspecified() {
		return nil, errors.New("this network has no router")
	}
	r := &Router{client: pmp.NewClientWithTimeout(gateway, answer), done: make(chan struct{}), open: map[opening]uint16{}}
	if err := r.ask(); err != nil {
		return nil, fmt.Errorf("the router at %v does not speak NAT-PMP: %w", gateway, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go r.keep(ctx)
	return r, nil
}

// ask asks for the router's outer address.
func (r *Router) ask() error {
	a, err := r.client.GetExternalAddress()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outer = netip.Addr{}
	if err != nil {
		return err
	}
	r.outer = netip.AddrFrom4(a.ExternalIPAddress)
	return nil
}

// Outer is the router's address outside, as it said last; not valid while it says none.
func (r *Router) Outer() netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outer
}

// AddMapping has a port opened, and kept open until Close. That the router refuses is no
// error: it is asked again.
func (r *Router) AddMapping(_ context.Context, protocol string, port int) error {
	if protocol != "udp" && protocol != "tcp" || port < 1 || port > 65535 {
		return fmt.Errorf("no port: %s %d", protocol, port)
	}
	r.request(opening{protocol, uint16(port)})
	return nil
}

func (r *Router) request(o opening) {
	r.mu.Lock()
	wish := r.open[o]
	r.mu.Unlock()
	if wish == 0 {
		wish = o.port
	}
	got := uint16(0)
	if a, err := r.client.AddPortMapping(o.protocol, int(o.port), int(wish), int(life/time.Second)); err == nil {
		got = a.MappedExternalPort
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[o] = got
}

// GetMapping tells where a port is reached from outside.
func (r *Router) GetMapping(protocol string, port int) (netip.AddrPort, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	outer := r.open[opening{protocol, uint16(port)}]
	return netip.AddrPortFrom(r.outer, outer), outer != 0 && r.outer.IsValid()
}

// keep renews what is open until ctx ends.
func (r *Router) keep(ctx context.Context) {
	defer close(r.done)
	tick := time.NewTicker(renew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r.ask() != nil {
			continue // it may be starting anew
		}
		for _, o := range r.list() {
			if ctx.Err() != nil {
				return
			}
			r.request(o)
		}
	}
}

func (r *Router) list() (all []opening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for o := range r.open {
		all = append(all, o)
	}
	return all
}

// Close has the ports closed (RFC 6886, section 3.4), and waits for that.
func (r *Router) Close() error {
	r.cancel()
	<-r.done
	for _, o := range r.list() {
		if _, err := r.client.AddPortMapping(o.protocol, int(o.port), 0, 0); err != nil {
			return fmt.Errorf("close port %d: %w", o.port, err)
		}
	}
	return nil
}
