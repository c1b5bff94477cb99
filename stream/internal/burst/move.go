package burst

import (
	"errors"
	"net/netip"

	"github.com/pion/transport/v4"
)

// A laptop moves from one network to the next. pion's connection then knows addresses
// that are no more; the keys are as good as before. So whoever has moved goes on from
// another socket (Rebind), and who gets the newest packet from a new address, authentic
// and not seen before, sends there from then on (follow), as WireGuard does and QUIC
// (RFC 9000, section 9). pion goes on in the belief that nothing has changed: its packets
// for the old address are sent to the new one, and what comes from there is shown to it
// as from the old one. Its checks, which only the other side can answer, thus go the new
// way too: a connection that was led astray ends as one that hears nothing does.

var errClosed = errors.New("the connection is closed")

// Ends are the addresses from and to which media goes; false: none has gone yet.
func (p *Path) Ends() (from, to netip.AddrPort, ok bool) {
	r := p.route.Load()
	if r == nil {
		return from, to, false
	}
	from, err := netip.ParseAddrPort(r.conn.sock.Load().LocalAddr().String())
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), r.to, err == nil
}

// Rebind goes on over c, a socket at another address of this machine's, which is the
// path's from now on.
func (p *Path) Rebind(c transport.UDPConn) error {
	p.sendMu.Lock()
	defer p.sendMu.Unlock()
	r := p.route.Load()
	if r == nil || r.conn.closed {
		return errors.Join(errClosed, c.Close())
	}
	s, old := r.conn.socket(c), r.conn.sock.Load()
	r.conn.sock.Store(s)
	p.route.Store(&route{r.conn, r.pion, r.to, destinationOf(s.udp, r.to)})
	old.out.close()
	return old.Close() // this wakes the reader, which goes on with the new one
}

// follow notes from where the other side's newest packet came to c, and sends there.
// recvMu is held.
func (p *Path) follow(c *conn, from netip.AddrPort, seq uint16) {
	if p.heard && int16(seq-p.newest) <= 0 {
		return // late ones come from where it was before
	}
	p.newest, p.heard = seq, true
	if r := p.route.Load(); r != nil && r.conn == c && r.to != from {
		p.route.CompareAndSwap(r, &route{c, r.pion, from, destinationOf(c.sock.Load().udp, from)})
	}
}

// known is the address from which c got something, as pion knows it.
func (p *Path) known(c *conn, from netip.AddrPort) netip.AddrPort {
	if r := p.route.Load(); r != nil && r.conn == c && r.to == from {
		return r.pion
	}
	return from
}
