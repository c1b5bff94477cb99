package link

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/transport/v4"
)

const (
	probeEvery = 50 * time.Millisecond   // pings after a move, until something is heard …
	probeFor   = 3 * time.Second         // … or the other side has given the link up
	followTime = 1200 * time.Millisecond // for the other side to follow to another address
	portTries  = 16
)

var (
	// errSlept: the other side has heard nothing for longer than it waits.
	errSlept = errors.New("this machine slept")
	errStuck = errors.New("the other side does not follow to this machine's new address (hint: a NAT or firewall keeps it out)")
)

// Moved takes the links along when this machine's addresses have changed: those whose
// own address is gone go on from the one that now leads to the other side, which follows.
// That keeps a link if the other side lets in packets from there, as nodes with an open
// NAT do; the other links fall silent and are replaced as all that do. local are the
// addresses of interfaces that are up. It may be called again while nothing leads anywhere.
func (e *Engine) Moved(local []netip.Addr) {
	for _, l := range e.all() {
		if err := l.move(local); err != nil {
			e.log.Debug("a link can't go on from here", "peer", l.Peer(), "err", err)
		}
	}
}

// Slept ends all links that are up: this machine has stood still for longer than the other
// sides wait for it.
func (e *Engine) Slept() {
	for _, l := range e.all() {
		if _, _, ok := l.path.Ends(); ok {
			l.fail(errSlept)
		}
	}
}

func (e *Engine) all() []*Link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.links))
}

func (l *Link) move(local []netip.Addr) error {
	from, to, ok := l.path.Ends()
	if !ok || l.net == nil {
		return nil // not up yet: it will do with the candidates that it has, or time out
	}
	moved := false
	if !slices.Contains(local, from.Addr()) && !from.Addr().IsUnspecified() && !from.Addr().IsLoopback() {
		source, err := sourceTo(to)
		if err != nil {
			return err
		}
		c, err := l.listen(netip.AddrPortFrom(source, from.Port()))
		if err != nil {
			return fmt.Errorf("go on from %v: %w", source, err)
		}
		if err := l.path.Rebind(c); err != nil {
			return err
		}
		moved = true
		l.e.log.Debug("a link goes on from another address", "peer", l.Peer(), "from", from.Addr(), "now", source)
	}
	l.mu.Lock()
	l.probing, l.pingAt = time.Now().Add(probeFor), time.Time{}
	if moved {
		l.followBy = time.Now().Add(followTime)
	}
	l.mu.Unlock()
	l.wake()
	return nil
}

// sourceTo is the address of this machine's that leads to an address.
func sourceTo(to netip.AddrPort) (netip.Addr, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) // asks the routing table; nothing is sent
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// listen opens a socket at the address, at another port if that one is taken.
func (l *Link) listen(at netip.AddrPort) (c transport.UDPConn, err error) {
	network := "udp6"
	if at.Addr().Is4() {
		network = "udp4"
	}
	lo, hi := int(l.e.cfg.PortMin), int(l.e.cfg.PortMax)
	for range portTries {
		if c, err = l.net.ListenUDP(network, net.UDPAddrFromAddrPort(at)); err == nil {
			return c, nil
		}
		port := 0
		if lo > 0 {
			port = lo + rand.IntN(hi-lo+1)
		}
		at = netip.AddrPortFrom(at.Addr(), uint16(port))
	}
	return nil, err
}

// followed notes an answer to a ping. Caller holds mu.
func (l *Link) followed() { l.probing, l.followBy = time.Time{}, time.Time{} }

// stuck says that the other side has not answered since this one moved. Caller holds mu.
func (l *Link) stuck(now time.Time) bool { return !l.followBy.IsZero() && now.After(l.followBy) }

// pingWait is how long after a ping the next one is due. Caller holds mu.
func (l *Link) pingWait(now time.Time) time.Duration {
	if now.Before(l.probing) {
		return probeEvery
	}
	return pingEvery
}
