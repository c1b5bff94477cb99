package node

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/watergy/waterfall/tree"
)

const (
	// lookEvery is how often the machine's addresses are looked at where the system does
	// not tell of changes, and whether the process was asleep.
	lookEvery = time.Second
	// settle is how long changes may go on before they are looked at: an address, its
	// route, the name server come one after another.
	settle = 30 * time.Millisecond
	// longSleep is more than the other side of a link waits for a sign of life (5 s).
	longSleep = 6 * time.Second
)

// whereabouts is how this machine stands in the network.
type whereabouts struct {
	local  []netip.Addr  // of interfaces that are up, sorted; neither loopback nor link-local
	source [2]netip.Addr // that lead to the world by IPv4 and IPv6; zero: none does
}

func whereNow() (w whereabouts) {
	interfaces, _ := net.Interfaces() // on an error: as if there were none
	for _, i := range interfaces {
		if live := net.FlagUp | net.FlagRunning; i.Flags&live != live {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if ip := p.Addr().Unmap(); err == nil && ip.IsGlobalUnicast() {
				w.local = append(w.local, ip)
			}
		}
	}
	slices.SortFunc(w.local, netip.Addr.Compare)
	// Addresses of documentation (RFC 5737, RFC 3849): the routing table is asked, nothing
	// is sent.
	for i, to := range []string{"192.0.2.1", "2001:db8::1"} {
		if c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.ParseIP(to), Port: 9}); err == nil {
			w.source[i] = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
			c.Close()
		}
	}
	return w
}

// lost says that something of old is gone: connections may be dead.
func (w whereabouts) lost(old whereabouts) bool {
	for _, a := range old.local {
		if !slices.Contains(w.local, a) {
			return true
		}
	}
	return w.source != old.source
}

func (w whereabouts) equal(o whereabouts) bool {
	return slices.Equal(w.local, o.local) && w.source == o.source
}

// watchNetwork sees when this machine changes its addresses or wakes from sleep, and
// takes links and host along, until ctx ends.
func (n *Node) watchNetwork(ctx context.Context) {
	changes := make(chan struct{}, 1)
	n.task(func(ctx context.Context) func() { tellChanges(ctx, changes); return nil })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	was, awake := whereNow(), sinceBoot()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-changes:
			select {
			case <-time.After(settle):
			case <-ctx.Done():
				return
			}
		}
		now, at := whereNow(), sinceBoot()
		slept := at - awake
		awake = at
		switch {
		case slept > longSleep:
			n.log.Info("awake again", "after", slept)
			n.relocate(now, true)
			n.links.Slept()
		case !now.equal(was):
			n.log.Info("the network has changed", "addresses", now.local)
			n.relocate(now, now.lost(was))
		}
		was = now
	}
}

// relocate takes links and host along to where this machine is now.
func (n *Node) relocate(now whereabouts, lost bool) {
	n.post(func() { // first, for the trees' view of what happens to the links
		for _, s := range n.streams {
			s.step(tree.Relocated{})
		}
	})
	n.links.Moved(now.local)
	n.host.Moved(lost)
	for _, tell := range []chan struct{}{n.moved, n.rerouted} {
		select {
		case tell <- struct{}{}:
		default: // it is told already
		}
	}
	n.post(func() {
		for _, r := range n.rooms {
			r.presence.Moved()
		}
	})
}
