package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/stun/v3"
	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
)

// NAT is what stands between a node and the others, as far as asking two STUN servers
// from one socket tells (RFC 5780, section 4.3).
type NAT uint8

const (
	UnknownNAT   NAT = iota // fewer than two servers answered, and none gave an address of our own
	NoNAT                   // what is seen of us is our own address
	ConeNAT                 // everybody sees the same address: once we have written to them, others get through
	SymmetricNAT            // another address for everyone who is asked: nobody can be told where to reach us
)

func (n NAT) String() string {
	return [...]string{"unknown", "none", "cone", "symmetric"}[n]
}

// Mapping is what one STUN server saw.
type Mapping struct {
	Server, Mapped netip.AddrPort
	Took           time.Duration
}

// KindOf judges what servers saw of one socket, on a machine with these addresses of its own.
func KindOf(seen []Mapping, local []netip.Addr) NAT {
	switch {
	case len(seen) == 0:
		return UnknownNAT
	case slices.Contains(local, seen[0].Mapped.Addr()):
		return NoNAT
	case len(seen) == 1:
		return UnknownNAT
	}
	for _, m := range seen[1:] {
		if m.Mapped != seen[0].Mapped {
			return SymmetricNAT
		}
	}
	return ConeNAT
}

const (
	maxSTUN     = 1500 // bytes; more than any binding response has
	stunAgain   = 300 * time.Millisecond
	natAskTime  = 2 * time.Second
	maxSTUNAsks = 8 // servers
)

// AskSTUN sends binding requests (RFC 8489) to every server from conn, again while no
// answer comes and ctx lasts, and returns what each saw. Other packets that come meanwhile
// are lost.
func AskSTUN(ctx context.Context, conn net.PacketConn, servers []netip.AddrPort) ([]Mapping, error) {
	requests := map[[stun.TransactionIDSize]byte]netip.AddrPort{}
	for _, at := range servers[:min(len(servers), maxSTUNAsks)] {
		requests[stun.NewTransactionID()] = at
	}
	start := time.Now()
	var seen []Mapping
	buf := make([]byte, maxSTUN)
	for ctx.Err() == nil && len(requests) > 0 {
		for id, to := range requests {
			m, err := stun.Build(stun.NewTransactionIDSetter(id), stun.BindingRequest)
			if err != nil {
				return seen, err
			}
			conn.WriteTo(m.Raw, net.UDPAddrFromAddrPort(to)) // no way there: no answer either
		}
		if err := conn.SetReadDeadline(time.Now().Add(stunAgain)); err != nil {
			return seen, err
		}
		for len(requests) > 0 {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				break
			}
			mapped, id, err := readBinding(buf[:n])
			udp, isUDP := from.(*net.UDPAddr)
			server, asked := requests[id]
			if err == nil && isUDP && asked && unmapped(udp.AddrPort()) == unmapped(server) {
				delete(requests, id)
				seen = append(seen, Mapping{unmapped(server), mapped, time.Since(start)})
			}
		}
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return seen, err
	}
	if len(seen) == 0 {
		return nil, errors.New("no STUN server answers")
	}
	return seen, nil
}

// readBinding reads a STUN success response.
func readBinding(b []byte) (mapped netip.AddrPort, id [stun.TransactionIDSize]byte, err error) {
	if !stun.IsMessage(b) {
		return mapped, id, errors.New("not STUN")
	}
	m := &stun.Message{Raw: slices.Clone(b)}
	if err := m.Decode(); err != nil {
		return mapped, id, err
	}
	var x stun.XORMappedAddress
	if m.Type != stun.BindingSuccess {
		return mapped, id, errors.New("no success")
	}
	if err := x.GetFrom(m); err != nil {
		return mapped, id, err
	}
	ip, ok := netip.AddrFromSlice(x.IP)
	if !ok || x.Port < 1 || x.Port > 65535 {
		return mapped, id, errors.New("no address")
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(x.Port)), m.TransactionID, nil
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// NAT asks the configured STUN servers by IPv4 what this node sits behind, and which
// address the first to answer sees: 2 s at most.
func (e *Engine) NAT(ctx context.Context) (NAT, netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, natAskTime)
	defer cancel()
	network := e.cfg.Net
	if network == nil {
		var err error
		if network, err = stdnet.NewNet(); err != nil {
			return UnknownNAT, netip.Addr{}, fmt.Errorf("ask for our address: %w", err)
		}
	}
	conn, err := network.ListenUDP("udp4", nil)
	if err != nil {
		return UnknownNAT, netip.Addr{}, fmt.Errorf("ask for our address: %w", err)
	}
	defer conn.Close()
	var servers []netip.AddrPort
	for _, s := range e.cfg.STUN[:min(len(e.cfg.STUN), maxSTUNAsks)] {
		if at, err := network.ResolveUDPAddr("udp4", s); err == nil {
			servers = append(servers, unmapped(at.AddrPort()))
		}
	}
	slices.SortFunc(servers, netip.AddrPort.Compare)
	seen, err := AskSTUN(ctx, conn, slices.Compact(servers))
	if err != nil {
		return UnknownNAT, netip.Addr{}, fmt.Errorf("ask for our address: %w", err)
	}
	return KindOf(seen, addresses(network)), seen[0].Mapped.Addr(), nil
}

// addresses are this machine's own.
func addresses(network transport.Net) []netip.Addr {
	var list []netip.Addr
	interfaces, err := network.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				list = append(list, p.Addr().Unmap())
			}
		}
	}
	return list
}
