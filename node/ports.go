package node

import (
	"context"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/p2p/net/nat"

	"github.com/watergy/waterfall/dht/natpmp"
)

const (
	portsMost   = 64                     // of --media-ports that the router is asked for, the lowest
	portsLook   = 15 * time.Second       // between looks at what it has opened: it may forget
	portsLeave  = 500 * time.Millisecond // for it to close them again; else they lapse after a minute
	portsPerAsk = 5 * time.Second        // for it to open one
)

// opener is a router that opens ports: by NAT-PMP (natpmp.Router), or by UPnP (nat.NAT).
type opener interface {
	AddMapping(ctx context.Context, protocol string, port int) error
	GetMapping(protocol string, port int) (netip.AddrPort, bool)
	Close() error
}

// openings are media ports that the router has opened, and where they are reached.
type openings map[uint16]netip.AddrPort

// outside is where a media port of ours is reached from anywhere; the zero AddrPort: unknown.
func (n *Node) outside(port uint16) netip.AddrPort {
	if o := n.openings.Load(); o != nil {
		return (*o)[port]
	}
	return netip.AddrPort{}
}

// watchRouter has the router open the media ports, where it speaks NAT-PMP or UPnP and the
// ports are known beforehand, and again the next one after a move.
func (n *Node) watchRouter() {
	if !n.cfg.MapPorts || n.cfg.MediaPortMin == 0 || n.cfg.Volunteer {
		return
	}
	last := min(int(n.cfg.MediaPortMax), int(n.cfg.MediaPortMin)+portsMost-1)
	n.task(func(ctx context.Context) func() {
		for ctx.Err() == nil {
			n.keepOpen(ctx, int(n.cfg.MediaPortMin), last)
		}
		return nil
	})
}

// keepOpen keeps the ports open at this network's router, until a move or the end of ctx.
func (n *Node) keepOpen(ctx context.Context, first, last int) {
	router := n.findRouter(ctx)
	if router == nil {
		select {
		case <-n.rerouted:
		case <-ctx.Done():
		}
		return
	}
	defer leave(router)
	defer n.setOpenings(nil)
	openAll(ctx, router, first, last)
	look := time.NewTicker(portsLook)
	defer look.Stop()
	for {
		n.setOpenings(openAt(router, first, last))
		select {
		case <-look.C:
		case <-n.rerouted:
			return
		case <-ctx.Done():
			return
		}
	}
}

// findRouter looks for a router that opens ports; nil: there is none. Who speaks NAT-PMP
// answers at once; for UPnP the whole network is asked, which takes seconds.
func (n *Node) findRouter(ctx context.Context) opener {
	pmp, err := natpmp.Find(ctx)
	if err == nil {
		return pmp
	}
	n.log.Debug("no NAT-PMP", "err", err)
	ctx, cancel := context.WithTimeout(ctx, nat.DiscoveryTimeout)
	defer cancel()
	upnp, err := nat.DiscoverNAT(ctx)
	if err != nil {
		n.log.Debug("no UPnP", "err", err)
		return nil
	}
	return upnp
}

// openAll asks for one port after the other, until one is refused: so would be the others.
func openAll(ctx context.Context, router opener, first, last int) {
	for port := first; port <= last; port++ {
		ask, cancel := context.WithTimeout(ctx, portsPerAsk)
		err := router.AddMapping(ask, "udp", port)
		cancel()
		if _, opened := router.GetMapping("udp", port); err != nil || !opened {
			return
		}
	}
}

// openAt is what the router has opened. It says the same of a router behind another NAT,
// whose outer address is nowhere reached: then it is nothing.
func openAt(router opener, first, last int) openings {
	open := openings{}
	for port := first; port <= last; port++ {
		if at, ok := router.GetMapping("udp", port); ok && Public(at.Addr().Unmap()) {
			open[uint16(port)] = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		}
	}
	return open
}

// shared are the addresses of a provider's own NAT (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// Public says that an address may be one of the internet's.
func Public(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !shared.Contains(ip)
}

// leave closes the ports. A router that is gone is not waited for.
func leave(router opener) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = router.Close() // always nil
	}()
	select {
	case <-closed:
	case <-time.After(portsLeave):
	}
}

// setOpenings tells links, trees and the status document.
func (n *Node) setOpenings(open openings) {
	n.openings.Store(&open)
	n.post(func() {
		if count := len(open); open == nil {
			n.opened = nil
		} else if n.opened == nil || *n.opened != count {
			n.log.Info("the router lets media in", "ports", count)
			n.opened = &count
		}
		n.tellReach()
	})
}

// anybodyReaches says that every media port is open, at the address that STUN servers see
// (or none was asked): then it does not matter what kind of NAT the router is.
func (n *Node) anybodyReaches() bool {
	open := n.openings.Load()
	if open == nil || len(*open) <= int(n.cfg.MediaPortMax-n.cfg.MediaPortMin) {
		return false
	}
	return !n.seen.IsValid() || (*open)[n.cfg.MediaPortMin].Addr() == n.seen
}
