package vnet

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
)

// HostConfig says how a host hangs on the network.
type HostConfig struct {
	Delay   time.Duration // its share of a packet's one-way delay; 0 means half of Config.DefaultDelay, negative none
	Jitter  time.Duration // up to this much more, drawn for each packet (so packets overtake each other)
	Loss    float64       // share of packets lost on its line, each way: 0 to 1
	Up      int64         // bits a second; 0: no limit
	Down    int64
	Queue   time.Duration // how long a packet may wait for Up or Down before it is dropped; 0 means 100 ms
	NAT     NAT
	Gateway netip.Addr // public address of the NAT; hosts may share one. Zero: their own (a firewall, no translation)
}

// Host is one machine with one address.
type Host struct {
	net   *Network
	ip    netip.Addr
	cfg   HostConfig
	delay time.Duration
	gw    *gateway // nil: none

	counter counter

	// Guarded by net.mu.
	down             bool
	uplink, downlink shaper
	conns            map[uint16]*Conn
	nextPort         uint16
	ports            map[uint16]*Traffic
}

// Traffic is what has passed between a host and others, in bytes of IP packets: 28 for
// the headers of IPv4 and UDP, and the payload.
type Traffic struct {
	In, Out               uint64 // read into a buffer; written, whatever became of it
	PacketsIn, PacketsOut uint64
	Handshakes            uint64 // of In + Out, at LibP2PPort: what QUIC's connections cost to open
}

// count notes one packet that came (in) or went.
func (t *Traffic) count(port uint16, data []byte, in bool) {
	size := uint64(len(data) + overhead)
	if in {
		t.In += size
		t.PacketsIn++
	} else {
		t.Out += size
		t.PacketsOut++
	}
	// RFC 8999, section 5.1: packets with a long header come before the keys are agreed on.
	if port == LibP2PPort && len(data) > 0 && data[0]&0x80 != 0 {
		t.Handshakes += size
	}
}

func (t *Traffic) add(u Traffic) {
	t.In += u.In
	t.Out += u.Out
	t.PacketsIn += u.PacketsIn
	t.PacketsOut += u.PacketsOut
	t.Handshakes += u.Handshakes
}

// Traffic tells what passed one port of the host (LibP2PPort: all that libp2p sends and
// hears), and what passed all others. Ports of closed sockets count.
func (h *Host) Traffic(port uint16) (there, elsewhere Traffic) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for p, t := range h.ports {
		if p == port {
			there = *t
		} else {
			elsewhere.add(*t)
		}
	}
	return there, elsewhere
}

// at finds or makes the count of a port. The caller holds net.mu.
func (h *Host) at(port uint16) *Traffic {
	t := h.ports[port]
	if t == nil {
		t = &Traffic{}
		h.ports[port] = t
	}
	return t
}

// firstPort begins the range that port 0 draws from (RFC 6335, section 6), in order, so
// that the same test gets the same ports.
const firstPort = 49152

// Host adds a host at ip, which must be new. Take public-looking addresses (1.2.3.4):
// libp2p won't announce others to everybody; behind a Gateway, private ones.
func (n *Network) Host(ip netip.Addr, cfg HostConfig) *Host {
	if cfg.Queue <= 0 {
		cfg.Queue = 100 * time.Millisecond
	}
	h := &Host{
		net: n, ip: ip, cfg: cfg,
		delay:    max(cfg.Delay, 0),
		uplink:   shaper{rate: cfg.Up, queue: cfg.Queue},
		downlink: shaper{rate: cfg.Down, queue: cfg.Queue},
		conns:    make(map[uint16]*Conn), nextPort: firstPort, ports: make(map[uint16]*Traffic),
		counter: counter{by: make(map[protocol.ID]Traffic)},
	}
	if cfg.Delay == 0 {
		h.delay = n.delay / 2
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[ip] != nil || n.gateways[ip] != nil {
		panic(fmt.Sprintf("vnet: two hosts at %v", ip))
	}
	n.hosts[ip] = h
	if cfg.Gateway.IsValid() {
		h.gw = n.gateway(cfg.Gateway)
	}
	return h
}

// IP is the host's address.
func (h *Host) IP() netip.Addr { return h.ip }

// ListenUDP opens a socket on port; 0 means any that is free.
func (h *Host) ListenUDP(port uint16) (*Conn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.listen(port)
}

// listen is ListenUDP for one who holds net.mu.
func (h *Host) listen(port uint16) (*Conn, error) {
	select {
	case <-h.net.quit:
		return nil, h.opError("listen", net.ErrClosed)
	default:
	}
	if port == 0 {
		for range 65536 - firstPort {
			p := h.nextPort
			if h.nextPort++; h.nextPort == 0 {
				h.nextPort = firstPort
			}
			if h.conns[p] == nil {
				port = p
				break
			}
		}
	}
	if port == 0 || h.conns[port] != nil {
		return nil, h.opError("listen", syscall.EADDRINUSE)
	}
	c := &Conn{
		host:   h,
		local:  netip.AddrPortFrom(h.ip, port),
		flows:  make(map[netip.AddrPort]*flow),
		buffer: defaultBuffer,
	}
	c.ready = sync.NewCond(&h.net.mu)
	h.conns[port] = c
	return c, nil
}

func (h *Host) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Addr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.ip, 0)), Err: err}
}

var errNotOurs = errors.New("not an address of this host")

// bind opens a socket at addr, as the net package reads it: nil, an unspecified address
// and port 0 leave the choice to the host.
func (h *Host) bind(addr *net.UDPAddr) (*Conn, error) {
	if addr == nil {
		return h.ListenUDP(0)
	}
	if ip := addr.AddrPort().Addr().Unmap(); ip.IsValid() && !ip.IsUnspecified() && ip != h.ip {
		return nil, h.opError("listen", fmt.Errorf("%v: %w", ip, errNotOurs))
	}
	return h.ListenUDP(uint16(addr.Port))
}

// flow notes that c writes to to. The caller holds net.mu.
func (c *Conn) flow(to netip.AddrPort, now time.Time) *flow {
	f := c.flows[to]
	if f == nil {
		// Dice for each flow: what one goroutine sends doesn't change another's luck.
		key := fnv.New64a()
		fmt.Fprint(key, c.local, to)
		f = &flow{dice: rand.New(rand.NewPCG(c.host.net.seed, key.Sum64()))}
		c.flows[to] = f
	}
	f.last = now
	return f
}

// Sockets is how many are open.
func (h *Host) Sockets() int {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return len(h.conns)
}
