package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rules loads nft's rules in the namespace.
func (ns *namespace) rules(t testing.TB, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.nft")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ns.run(t, "nft", "-f", file)
}

// away are the flags of a node that is not on this machine alone.
func away(command string, listen []string, more ...string) []string {
	args := []string{command, "--mdns=false", "--stun", "none", "--console", "127.0.0.1:0"}
	for _, a := range listen {
		args = append(args, "--listen", a)
	}
	return append(args, more...)
}

// addressWith is the first address line of a node in which all of parts are.
func (n *Node) addressWith(parts ...string) string {
	n.t.Helper()
	n.Line("address")
	for _, a := range strings.Split(n.stdout.String(), "\n") {
		if a, ok := strings.CutPrefix(a, "address: "); ok && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(a, p) }) {
			return a
		}
	}
	n.t.Fatalf("%s has no address with %v", n.Name, parts)
	return ""
}

// mediaOnly is a firewall that drops UDP but for the media's ports, and TCP to all ports
// but one.
func mediaOnly(tcp string) string {
	return `
table inet strict {
	chain out {
		type filter hook output priority filter; policy accept;
		udp dport != 50000-50100 drop
		tcp dport != ` + tcp + ` tcp flags & (syn|ack) == syn oifname != "lo" drop
	}
	chain in {
		type filter hook input priority filter; policy accept;
		udp dport != 50000-50100 drop
	}
}
`
}

// Who can't send UDP to libp2p's ports gets in by TCP; where one TCP port is open, by
// WebSocket there. Media always takes UDP, here on the ports that --media-ports names.
func TestUDPBlocked(t *testing.T) {
	for _, c := range []struct {
		name   string
		listen []string
		open   string
		hub    []string // what the address that the laptop is given has in it
	}{
		// The QUIC address of a ticket is enough: TCP is tried on the port beside it.
		{"TCP", []string{"/ip4/203.0.113.1/udp/4001/quic-v1", "/ip4/203.0.113.1/tcp/4001"}, "4001", []string{"/udp/4001/quic-v1"}},
		{"WebSocket", []string{"/ip4/203.0.113.1/udp/4001/quic-v1", "/ip4/203.0.113.1/tcp/8080/ws"}, "8080", []string{"/tcp/8080/ws"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			outside, laptop := newNamespace(t, "o"), newNamespace(t, "l")
			wire(t, outside, "lan", "203.0.113.1/24", laptop, "wan", "203.0.113.2/24")
			laptop.rules(t, mediaOnly(c.open))
			bootstrap := run(t, "bootstrap", options{ns: outside}, away("bootstrap", c.listen, "--stun-listen", "none")...)
			media := []string{"--media-ports", "50000-50100", "--bootstrap"}
			speaker := run(t, "speaker", options{ns: outside},
				away("speak", []string{"/ip4/203.0.113.1/udp/0/quic-v1"}, append(media, bootstrap.addressWith("quic"), "--input", "test")...)...)
			speaker.Live(10 * time.Second)
			joiner := run(t, "joiner", options{ns: laptop},
				away("join", nil, append(media, bootstrap.addressWith(c.hub...), speaker.Line("room"))...)...)
			s := joiner.When(15*time.Second, "showing a frame", hasFrame)
			t.Logf("first frame after %.0f ms", *s.Join.FirstFrameMS)
		})
	}
}

// soon asserts that a joiner shows its first frame within limit of its start.
func (n *Node) soon(limit time.Duration) {
	n.t.Helper()
	s := n.When(15*time.Second, "showing a frame", hasFrame)
	took := time.Duration(*s.Join.FirstFrameMS * float64(time.Millisecond))
	n.t.Logf("first frame after %v", took.Round(time.Millisecond))
	if took > limit {
		n.t.Errorf("first frame after %v, not %v", took, limit)
	}
}

// behindNAT makes a NAT that lets in only answers, with a room behind it; the NAT's
// outer side is wired to outside.
func behindNAT(t *testing.T, name string, outside *namespace, outer, inner string) (room *namespace) {
	t.Helper()
	nat, room := newNamespace(t, "n"+name), newNamespace(t, "r"+name)
	wire(t, outside, "nat"+name, outer+".1/24", nat, "out", outer+".2/24")
	wire(t, room, "nat", inner+".2/24", nat, "room", inner+".1/24")
	room.run(t, "ip", "route", "add", "default", "via", inner+".1")
	nat.run(t, "ip", "route", "add", "default", "via", outer+".1")
	nat.run(t, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	nat.rules(t, `
table ip nat {
	chain post { type nat hook postrouting priority srcnat; oifname "out" masquerade; }
}
table ip filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "room" accept
		ct state established,related accept
	}
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "room" accept
	}
}
`)
	return room
}

// Speaker and joiner behind NATs of their own find and hear each other through a
// bootstrap node that answers STUN (issue 7: ≤ 3 s).
func TestNATOnBothSides(t *testing.T) {
	outside := newNamespace(t, "o")
	a := behindNAT(t, "a", outside, "203.0.113", "192.168.1")
	b := behindNAT(t, "b", outside, "198.51.100", "192.168.2")
	outside.run(t, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	bootstrap := run(t, "bootstrap", options{ns: outside},
		away("bootstrap", []string{"/ip4/203.0.113.1/udp/4001/quic-v1"}, "--stun-listen", "203.0.113.1:3478")...)
	flags := []string{"--mdns=false", "--console", "127.0.0.1:0", "--stun", "203.0.113.1:3478", "--bootstrap", bootstrap.addressWith("quic")}
	speaker := run(t, "speaker", options{ns: a}, append([]string{"speak", "--input", "test"}, flags...)...)
	speaker.Live(10 * time.Second)
	run(t, "joiner", options{ns: b}, append([]string{"join", speaker.Line("room")}, flags...)...).soon(3 * time.Second)
}

// Two laptops on a network without IPv4.
func TestIPv6Only(t *testing.T) {
	a, b := newNamespace(t, "a"), newNamespace(t, "b")
	for _, ns := range []*namespace{a, b} { // else the addresses can't be used for a second
		ns.run(t, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
	}
	wire(t, a, "there", "2001:db8::1/64", b, "here", "2001:db8::2/64")
	bootstrap := run(t, "bootstrap", options{ns: a}, away("bootstrap", []string{"/ip6/2001:db8::1/udp/4001/quic-v1"}, "--stun-listen", "none")...)
	hub := bootstrap.addressWith("quic")
	speaker := run(t, "speaker", options{ns: a}, away("speak", nil, "--bootstrap", hub, "--input", "test")...)
	speaker.Live(10 * time.Second)
	run(t, "joiner", options{ns: b}, away("join", nil, "--bootstrap", hub, speaker.Line("room"))...).soon(3 * time.Second)
}

// Two laptops on a LAN with no internet and no bootstrap node (issue 6, figure 3).
func TestLANAlone(t *testing.T) {
	a, b := newNamespace(t, "a"), newNamespace(t, "b")
	wire(t, a, "there", "192.168.7.1/24", b, "here", "192.168.7.2/24")
	flags := []string{"--bootstrap", "none", "--console", "127.0.0.1:0"}
	speaker := run(t, "speaker", options{ns: a}, append([]string{"speak", "--input", "test"}, flags...)...)
	speaker.Live(10 * time.Second)
	run(t, "joiner", options{ns: b}, append([]string{"join", speaker.Line("ticket")}, flags...)...).soon(3 * time.Second)
}
