package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/watergy/waterfall/node"
)

// internet is a namespace that routes between homes, with two bootstrap nodes that answer
// STUN: asked from one socket, they tell a NAT's kind.
type internet struct {
	t      testing.TB
	ns     *namespace
	outer  string // the homes' network, /24
	homes  int
	router *namespace // of the last home that has one
	flags  []string
}

func newInternet(t testing.TB) *internet {
	t.Helper()
	return newInternetOf(t, "203.0.113", "198.51.100")
}

// newInternetOf has bootstrap nodes in one /24 and homes in another.
func newInternetOf(t testing.TB, servers, homes string) *internet {
	t.Helper()
	in := &internet{t: t, ns: newNamespace(t, "i"), outer: homes, flags: []string{"--mdns=false", "--console", "127.0.0.1:0"}}
	in.ns.run(t, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	var peers []string
	for _, ip := range []string{servers + ".1", servers + ".2"} {
		in.ns.run(t, "ip", "addr", "add", ip+"/32", "dev", "lo")
		b := run(t, "bootstrap "+ip, options{ns: in.ns}, slices.Concat([]string{"bootstrap", "--listen", "/ip4/" + ip + "/udp/0/quic-v1",
			"--mdns=false", "--stun", "none", "--console", "none", "--stun-listen", ip + ":3478"}, peers)...)
		peers = append(peers, "--bootstrap", b.Line("address"))
		in.flags = append(in.flags, "--stun", ip+":3478")
	}
	in.flags = append(in.flags, peers...)
	return in
}

// Rules of a router, by kind; "none" has no router. Both let in only answers; the
// symmetric one takes another port for everyone who is spoken to.
var natRules = map[string]string{"cone": "masquerade", "symmetric": "masquerade random,fully-random"}

// home makes a place for one node behind a NAT of some kind.
func (in *internet) home(kind string) options {
	in.t.Helper()
	in.homes++
	i := in.homes
	up, down := fmt.Sprintf("%s.%d", in.outer, 4*i+1), fmt.Sprintf("%s.%d", in.outer, 4*i+2)
	house := newNamespace(in.t, fmt.Sprintf("h%d", i))
	if kind == "none" {
		wire(in.t, in.ns, fmt.Sprintf("h%d", i), up+"/30", house, "out", down+"/30")
		house.run(in.t, "ip", "route", "add", "default", "via", up)
		return options{ns: house}
	}
	router := newNamespace(in.t, fmt.Sprintf("r%d", i))
	in.router = router
	wire(in.t, in.ns, fmt.Sprintf("r%d", i), up+"/30", router, "out", down+"/30")
	wire(in.t, router, "in", "192.168.1.1/24", house, "out", "192.168.1.2/24")
	rules := filepath.Join(in.t.TempDir(), "nat.nft")
	if err := os.WriteFile(rules, fmt.Appendf(nil, `
table ip nat {
	chain post { type nat hook postrouting priority srcnat; oifname "out" %s; }
}
table ip wall {
	chain forward { type filter hook forward priority filter; policy drop; iifname "in" accept; ct state established,related accept; }
	chain input { type filter hook input priority filter; policy drop; iifname "in" accept; }
}
`, natRules[kind]), 0o644); err != nil {
		in.t.Fatal(err)
	}
	router.run(in.t, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; ip route add default via "+up+"; exec nft -f "+rules)
	house.run(in.t, "ip", "route", "add", "default", "via", "192.168.1.1")
	return options{ns: house}
}

func (in *internet) start(name string, at options, command string, args ...string) *Node {
	in.t.Helper()
	return run(in.t, name, at, slices.Concat([]string{command, "--listen", "/ip4/0.0.0.0/udp/0/quic-v1"}, in.flags, args)...)
}

// Issue 3, figure 6: twelve nodes of mixed kinds, a third of them behind symmetric NATs,
// and no TURN: all live. Each knows its kind, and the symmetric ones hang on nodes that
// anybody can reach.
func TestNATKinds(t *testing.T) {
	in := newInternet(t)
	w := &network{t: t}
	w.speaker = in.start("speaker", in.home("cone"), "speak", "--input", "test")
	w.speaker.Live(15 * time.Second)
	kinds := map[string]string{w.speaker.Line("peer"): "cone"}
	for i := range 12 {
		kind := []string{"none", "cone", "symmetric"}[i%3]
		n := in.start(fmt.Sprintf("listener %d (%s)", i+1, kind), in.home(kind), "join", w.speaker.Line("room"))
		kinds[n.Line("peer")] = kind
		w.listeners = append(w.listeners, n)
	}
	for _, n := range w.listeners {
		n.Live(60 * time.Second)
	}
	pause(3 * time.Second) // lost is what has not come within 2 s
	w.checkPaths()
	w.checkLoss()
	layers := map[int][]string{}
	for _, n := range append(w.listeners, w.speaker) {
		st, err := n.Status()
		if err != nil {
			t.Fatal(err)
		}
		s, kind := n.Live(time.Second), kinds[st.PeerID]
		layers[*s.Layer] = append(layers[*s.Layer], kind)
		if st.NAT != kind {
			t.Errorf("%s takes its NAT for %s", n.Name, st.NAT)
		}
		if s.Parent != nil && (kind == "symmetric" && kinds[*s.Parent] != "none" || kinds[*s.Parent] == "symmetric" && kind != "none") {
			t.Errorf("%s hangs on one behind a %s NAT", n.Name, kinds[*s.Parent])
		}
	}
	t.Logf("NATs by layer: %v", layers)
}

// A speaker behind a symmetric NAT and listeners behind ordinary ones can't meet without
// TURN: both sides are told so, and what would help.
func TestOutOfReach(t *testing.T) {
	in := newInternet(t)
	speaker := in.start("speaker", in.home("symmetric"), "speak", "--input", "test")
	speaker.Live(15 * time.Second)
	eventually(t, 10*time.Second, "the speaker knows its NAT", func() error {
		if st, err := speaker.Status(); err != nil || st.NAT != "symmetric" {
			return errNotYet
		}
		return nil
	})
	listener := in.start("listener", in.home("cone"), "join", speaker.Line("room"))
	for _, n := range []*Node{listener, speaker} {
		n.When(20*time.Second, "told that it is out of reach", func(s node.StreamStatus) bool { return s.Verdict != nil })
	}
	// One node that anybody can reach is all that is missing.
	in.start("open", in.home("none"), "join", speaker.Line("room")).Live(20 * time.Second)
	listener.Live(30 * time.Second)
	if s := listener.Live(time.Second); s.Verdict != nil {
		t.Errorf("live, the listener is told %q", *s.Verdict)
	}
}
