package main

import (
	"bytes"
	"cmp"
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

	"github.com/watergy/waterfall/stream/link"
)

const (
	probeTime   = 2 * time.Second // for all STUN servers together
	hairpinTime = 600 * time.Millisecond
)

// probe is what STUN servers said to one socket.
type probe struct {
	asked    int
	answers  []link.Mapping
	local    []netip.Addr // this machine's addresses
	hairpin  bool
	hairpins bool // whether that was tried
	err      error
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
		p.hairpin = hairpins(ctx, conn, p.answers[0].Mapped)
	}
	return p
}

// askSTUN asks every server from conn which address it sees.
func askSTUN(ctx context.Context, conn *net.UDPConn, family string, servers []string) ([]link.Mapping, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	open, err := resolveAll(ctx, family, servers)
	if len(open) == 0 {
		return nil, err
	}
	answers, asked := link.AskSTUN(ctx, conn, open)
	return answers, cmp.Or(err, asked)
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
func (p probe) kind() string { return link.KindOf(p.answers, p.local).String() }

func (p probe) judgeUDP() finding {
	f := finding{Name: "udp", Grade: unknown, Found: "no STUN server was asked"}
	switch {
	case p.asked == 0:
	case len(p.answers) == 0 && onlyNames(p.err):
		f.Grade, f.Found = fair, "no STUN server's name can be looked up"
		f.Advice = "is this machine on the internet? On a LAN alone nodes find each other all the same"
	case len(p.answers) == 0:
		f.Grade, f.Found = bad, fmt.Sprintf("none of %d STUN servers answers", p.asked)
		if p.err != nil {
			f.Found += ": " + brief(p.err)
		}
		f.Advice = "let UDP out in the firewall, or try another network; if only these servers are down, name another with --stun HOST:PORT"
	default:
		f.Grade = good
		f.Found = fmt.Sprintf("%d of %d STUN servers answer, the fastest after %d ms", len(p.answers), p.asked, p.answers[0].Took.Milliseconds())
	}
	return f
}

// onlyNames says whether all that went wrong is that names have no address.
func onlyNames(err error) bool {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(all.Unwrap(), func(err error) bool { return !onlyNames(err) })
	}
	var dns *net.DNSError
	return errors.As(err, &dns)
}

func (p probe) judgeNAT() finding {
	f := finding{Name: "nat", Grade: unknown, Found: "not known without two STUN servers that answer"}
	switch p.kind() {
	case "none":
		f.Grade, f.Found = good, fmt.Sprintf("none: %s is this machine's own address", p.answers[0].Mapped.Addr())
	case "cone":
		f.Grade, f.Found = good, fmt.Sprintf("everybody sees the same address, %s", p.answers[0].Mapped)
	case "symmetric":
		f.Grade = fair
		var seen []string
		for _, a := range p.answers {
			seen = append(seen, a.Mapped.String())
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
	f.Grade, f.Found = good, fmt.Sprintf("reached as %s", answers[0].Mapped.Addr())
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
