package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

const (
	probeTime   = 2 * time.Second        // for all STUN servers together
	probeAgain  = 300 * time.Millisecond // a request is repeated
	hairpinTime = 600 * time.Millisecond
)

// probe is what STUN servers said to one socket.
type probe struct {
	asked    int
	answers  []probeAnswer
	local    []netip.Addr // this machine's addresses
	hairpin  bool
	hairpins bool // whether that was tried
	err      error
}

type probeAnswer struct {
	server, mapped netip.AddrPort
	took           time.Duration
}

// probe4 asks all servers from one IPv4 socket: a NAT that shows them different ports
// maps by destination, so nobody can be told where to reach us (RFC 4787, section 4.1).
func probe4(ctx context.Context, servers []string) probe {
	p := probe{asked: len(servers), local: localAddrs()}
	if len(servers) == 0 {
		return p
	}
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		p.err = err
		return p
	}
	defer conn.Close()
	p.answers, p.err = askSTUN(ctx, conn, "ip4", servers)
	if len(p.answers) > 0 {
		p.hairpins = true
		p.hairpin = hairpins(ctx, conn, p.answers[0].mapped)
	}
	return p
}

// askSTUN sends binding requests to every server from conn, again while no answer
// comes, and takes the answers.
func askSTUN(ctx context.Context, conn *net.UDPConn, family string, servers []string) ([]probeAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	open, err := resolveAll(ctx, family, servers)
	if len(open) == 0 {
		return nil, err
	}
	requests := map[[stun.TransactionIDSize]byte]netip.AddrPort{}
	for _, at := range open {
		requests[stun.NewTransactionID()] = at
	}
	start := time.Now()
	var answers []probeAnswer
	buf := make([]byte, maxSTUN)
	for ctx.Err() == nil && len(requests) > 0 {
		for id, to := range requests {
			m, err := stun.Build(stun.NewTransactionIDSetter(id), stun.BindingRequest)
			if err != nil {
				return answers, err
			}
			conn.WriteToUDPAddrPort(m.Raw, to) // no way there: no answer either
		}
		conn.SetReadDeadline(time.Now().Add(probeAgain))
		for len(requests) > 0 {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				break
			}
			mapped, id, err := readBinding(buf[:n])
			if server, ok := requests[id]; err == nil && ok && unmapped(from) == unmapped(server) {
				delete(requests, id)
				answers = append(answers, probeAnswer{unmapped(server), mapped, time.Since(start)})
			}
		}
	}
	conn.SetReadDeadline(time.Time{})
	if len(answers) == 0 && err == nil {
		err = errors.New("no STUN server answers")
	}
	return answers, err
}

// resolveAll looks the servers up together; one that has no address is left out.
func resolveAll(ctx context.Context, family string, servers []string) ([]netip.AddrPort, error) {
	var mu sync.Mutex
	var found []netip.AddrPort
	var errs []error
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(func() {
			host, port, err := net.SplitHostPort(s)
			var ips []netip.Addr
			var number int
			if err == nil {
				number, err = net.DefaultResolver.LookupPort(ctx, "udp", port)
			}
			if err == nil {
				ips, err = net.DefaultResolver.LookupNetIP(ctx, family, host)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			found = append(found, netip.AddrPortFrom(ips[0].Unmap(), uint16(number)))
		})
	}
	all.Wait()
	slices.SortFunc(found, netip.AddrPort.Compare)
	return slices.Compact(found), errors.Join(errs...)
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

// hairpins finds out whether the NAT lets this machine reach itself by its public
// address, as two nodes of one household must to meet there (RFC 4787, section 6).
func hairpins(ctx context.Context, conn *net.UDPConn, mapped netip.AddrPort) bool {
	other, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return false
	}
	defer other.Close()
	token := make([]byte, 32)
	rand.Read(token)
	ctx, cancel := context.WithTimeout(ctx, hairpinTime)
	defer cancel()
	buf := make([]byte, maxSTUN)
	for ctx.Err() == nil {
		other.WriteToUDPAddrPort(token, mapped)
		conn.SetReadDeadline(time.Now().Add(hairpinTime / 3))
		for {
			n, err := conn.Read(buf)
			if err != nil {
				break
			}
			if bytes.Equal(buf[:n], token) {
				return true
			}
		}
	}
	return false
}

// kind is how the NAT maps: none, cone (the same for everybody), symmetric, unknown.
func (p probe) kind() string {
	switch {
	case len(p.answers) == 0:
		return "unknown"
	case slices.Contains(p.local, p.answers[0].mapped.Addr()):
		return "none"
	case len(p.answers) == 1:
		return "unknown"
	}
	for _, a := range p.answers[1:] {
		if a.mapped != p.answers[0].mapped {
			return "symmetric"
		}
	}
	return "cone"
}

func (p probe) judgeUDP() finding {
	f := finding{Name: "udp", Grade: unknown, Found: "no STUN server was asked"}
	switch {
	case p.asked == 0:
	case len(p.answers) == 0:
		f.Grade, f.Found = bad, fmt.Sprintf("none of %d STUN servers answers", p.asked)
		if p.err != nil {
			f.Found += ": " + brief(p.err)
		}
		f.Advice = "let UDP out in the firewall, or try another network; if only these servers are down, name another with --stun HOST:PORT"
	default:
		f.Grade = good
		f.Found = fmt.Sprintf("%d of %d STUN servers answer, the fastest after %d ms", len(p.answers), p.asked, p.answers[0].took.Milliseconds())
	}
	return f
}

func (p probe) judgeNAT() finding {
	f := finding{Name: "nat", Grade: unknown, Found: "not known without two STUN servers that answer"}
	switch p.kind() {
	case "none":
		f.Grade, f.Found = good, fmt.Sprintf("none: %s is this machine's own address", p.answers[0].mapped.Addr())
	case "cone":
		f.Grade, f.Found = good, fmt.Sprintf("everybody sees the same address, %s", p.answers[0].mapped)
	case "symmetric":
		f.Grade = fair
		var seen []string
		for _, a := range p.answers {
			seen = append(seen, a.mapped.String())
		}
		f.Found = "symmetric, another address for everyone who is asked: " + strings.Join(seen, ", ")
		f.Advice = "you can listen; to pass on to others behind NATs, forward UDP ports to this machine and use --media-ports A-B"
	}
	return f
}

func (p probe) judgeHairpin() finding {
	f := finding{Name: "hairpin", Grade: unknown, Found: "not tried"}
	switch {
	case !p.hairpins:
	case p.hairpin:
		f.Grade, f.Found = good, "this machine reaches itself by its public address"
	default:
		f.Grade, f.Found = good, "not through this NAT; nodes of one network meet by their local addresses"
	}
	return f
}

func judgeIPv6(ctx context.Context, servers []string) finding {
	f := finding{Name: "ipv6", Grade: unknown, Found: "no STUN server was asked"}
	if len(servers) == 0 {
		return f
	}
	conn, err := net.ListenUDP("udp6", nil)
	if err != nil {
		f.Grade, f.Found = fair, "this machine has none"
		return f
	}
	defer conn.Close()
	answers, _ := askSTUN(ctx, conn, "ip6", servers)
	if len(answers) == 0 {
		f.Grade, f.Found = fair, "not from here; IPv4 is enough"
		return f
	}
	f.Grade, f.Found = good, fmt.Sprintf("reached as %s", answers[0].mapped.Addr())
	return f
}

func localAddrs() []netip.Addr {
	var list []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p.Addr().Unmap())
		}
	}
	return list
}
