package main

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// quantity reads a number with a unit, such as 1.5MiB; a bare number is of unit "".
func quantity(s string, units map[string]float64) (float64, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	i := strings.LastIndexAny(s, "0123456789.") + 1
	n, err := strconv.ParseFloat(s[:i], 64)
	factor, known := units[strings.TrimSpace(s[i:])]
	v := n * factor
	return v, err == nil && known && v >= 0 && v <= math.MaxInt64/2
}

// parseRate reads a line rate in bits a second: 10mbps, 800 kbit/s.
func parseRate(s string) (float64, error) {
	v, ok := quantity(s, map[string]float64{
		"": 1, "bps": 1, "kbps": 1e3, "mbps": 1e6, "gbps": 1e9,
		"bit/s": 1, "kbit/s": 1e3, "mbit/s": 1e6, "gbit/s": 1e9, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9,
	})
	if !ok {
		return 0, fmt.Errorf("%q is not a rate (hint: bits a second, like 10mbps)", s)
	}
	return v, nil
}

// parseSize reads a size in bytes: 16MiB, 500kB.
func parseSize(s string) (int, error) {
	v, ok := quantity(s, map[string]float64{
		"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30,
	})
	if !ok || v > math.MaxInt {
		return 0, fmt.Errorf("%q is not a size (hint: bytes, like 16MiB)", s)
	}
	return int(v), nil
}

// parsePorts reads a range of UDP ports: 50000-50100. An empty one means any port.
func parsePorts(s string) (lo, hi uint16, err error) {
	if s == "" {
		return 0, 0, nil
	}
	a, b, _ := strings.Cut(s, "-")
	x, errA := strconv.ParseUint(a, 10, 16)
	y, errB := strconv.ParseUint(b, 10, 16)
	if errA != nil || errB != nil || x == 0 || x > y {
		return 0, 0, fmt.Errorf("%q is not a range of ports (hint: like 50000-50100)", s)
	}
	return uint16(x), uint16(y), nil
}

// isNone recognises a list that says that there is none. Beside others, none is
// nothing: compose files fill in what they do not know with it.
func isNone(list []string) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(s string) bool { return s != "none" })
}

// parseListen reads --listen.
func parseListen(list []string) ([]ma.Multiaddr, error) {
	var addrs []ma.Multiaddr
	for _, s := range list {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, usagef("--listen %q is no multiaddr: %w (hint: like /ip4/0.0.0.0/udp/4001/quic-v1)", s, err)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// parseBootstrap reads --bootstrap; each address says whom to find there.
func parseBootstrap(list []string) ([]ma.Multiaddr, error) {
	var addrs []ma.Multiaddr
	for _, s := range list {
		if s == "none" {
			continue
		}
		a, err := ma.NewMultiaddr(s)
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(a)
		}
		if err != nil {
			return nil, usagef("--bootstrap %q is no multiaddr of a node: %w (hint: an `address:` line of the bootstrap node, like /ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3Koo…)", s, err)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// publicSTUN are asked besides the bootstrap nodes.
var publicSTUN = [...]string{"stun.l.google.com:19302", "stun.cloudflare.com:3478"}

// stunServers is who tells this node its public address: those given, else the
// bootstrap nodes and two public ones, but none on a network within this machine.
func stunServers(given []string, bootstrap []ma.Multiaddr) ([]string, error) {
	if isNone(given) {
		return nil, nil
	}
	for _, s := range given {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, usagef("--stun %q is not HOST:PORT (hint: like stun.example.org:3478, or none)", s)
		}
	}
	if len(given) > 0 || len(bootstrap) > 0 && !slices.ContainsFunc(bootstrap, notLoopback) {
		return given, nil
	}
	var servers []string
	for _, a := range bootstrap {
		if host := hostOf(a); host != "" && notLoopback(a) {
			servers = append(servers, net.JoinHostPort(host, stunPort))
		}
	}
	slices.Sort(servers)
	return append(slices.Compact(servers), publicSTUN[:]...), nil
}

func notLoopback(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) }

// hostOf is the address or name that a multiaddr begins with.
func hostOf(a ma.Multiaddr) string {
	for _, p := range []int{ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6} {
		if h, err := a.ValueForProtocol(p); err == nil {
			return h
		}
	}
	return ""
}

// consoleURL is the base URL of a console from what a person gives: an address or a URL.
func consoleURL(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("--console %q is no address of a console (hint: like 127.0.0.1:7480)", s)
	}
	return u, nil
}

// readSecret reads a file that holds one secret on its first line.
func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the token: %w (hint: --token-file names a file with a secret in it)", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("%s is empty (hint: put a long random secret on its first line)", path)
	}
	return line, nil
}
