package vnet

import (
	"net/netip"
	"time"
)

// NAT says what of the traffic to a host gets through. With HostConfig.Gateway set the
// host's addresses are translated as well.
type NAT uint8

const (
	// Open lets everything in.
	Open NAT = iota
	// Restricted lets in only those addresses and ports that the same local port wrote to
	// in the last 30 s (RFC 4787: address and port-dependent filtering,
	// endpoint-independent mapping).
	Restricted
	// Symmetric is Restricted with, behind a Gateway, another public port for every
	// destination (address and port-dependent mapping), so hole punching with another
	// Symmetric or Restricted host fails.
	Symmetric
)

// natLife is how long a NAT remembers what was written, and only writing refreshes it:
// the strict end of what is out there (Linux's nf_conntrack_udp_timeout is 30 s).
const natLife = 30 * time.Second

// hears says whether c's NAT lets p in. The caller holds net.mu.
func (c *Conn) hears(p packet, now time.Time) bool {
	lan := c.host.gw != nil && p.to.Addr() == c.host.ip // nobody else can write to a private address
	if c.host.cfg.NAT == Open || p.src == p.dst || lan {
		return true
	}
	f := c.flows[p.from]
	return f != nil && now.Sub(f.last) <= natLife
}

// gateway translates the addresses of the hosts behind it. Mappings last as long as
// their sockets; hears ages them.
type gateway struct {
	ip   netip.Addr
	in   map[uint16]mapping
	out  map[mapping]uint16
	next uint16
}

// mapping is what stands behind one public port.
type mapping struct {
	conn *Conn
	only netip.AddrPort // Symmetric: for this destination
}

// gateway finds or makes the one at ip. The caller holds n.mu.
func (n *Network) gateway(ip netip.Addr) *gateway {
	g := n.gateways[ip]
	if g == nil {
		g = &gateway{ip: ip, in: make(map[uint16]mapping), out: make(map[mapping]uint16), next: 1024}
		n.gateways[ip] = g
	}
	return g
}

// translate gives the address that to sees when c writes to it.
func (g *gateway) translate(c *Conn, to netip.AddrPort) netip.AddrPort {
	m := mapping{conn: c}
	if c.host.cfg.NAT == Symmetric {
		m.only = to
	}
	port, ok := g.out[m]
	for !ok {
		port = g.next
		if g.next++; g.next == 0 {
			g.next = 1024
		}
		if _, taken := g.in[port]; !taken {
			g.in[port], g.out[m], ok = m, port, true
		}
	}
	return netip.AddrPortFrom(g.ip, port)
}

// forget drops the mappings of a closed socket.
func (g *gateway) forget(c *Conn) {
	for port, m := range g.in {
		if m.conn == c {
			delete(g.in, port)
			delete(g.out, m)
		}
	}
}

// route finds who is meant by to: the host and its port, and the sender's address as the
// receiver sees it; or the count of the fate that the packet meets. The caller holds n.mu.
func (n *Network) route(c *Conn, to netip.AddrPort) (dst *Host, port uint16, from netip.AddrPort, fate *uint64) {
	src := c.host
	if dst = n.hosts[to.Addr()]; dst != nil && dst.gw != nil {
		// A private address: known only to those behind the same gateway.
		if dst.gw != src.gw {
			return nil, 0, from, &n.stats.Unreachable
		}
		return dst, to.Port(), c.local, nil
	}
	from = c.local
	if src.gw != nil {
		from = src.gw.translate(c, to)
	}
	if dst != nil {
		return dst, to.Port(), from, nil
	}
	if g := n.gateways[to.Addr()]; g != nil {
		m, ok := g.in[to.Port()]
		switch {
		case !ok:
			return nil, 0, from, &n.stats.Unreachable
		case m.only.IsValid() && m.only != from:
			return nil, 0, from, &n.stats.Filtered
		}
		return m.conn.host, m.conn.local.Port(), from, nil
	}
	return nil, 0, from, &n.stats.Unreachable
}
