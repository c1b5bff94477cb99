package e2e

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// travel is a laptop that can be on Wi-Fi or on cable, behind a router, and servers on the
// other side of it.
type travel struct {
	*network
	hub      string
	servers  *namespace
	laptopNS *namespace
	laptop   *Node
}

// newTravel starts a speaker and a laptop on Wi-Fi below it. The speaker has one slot.
func newTravel(t *testing.T) *travel {
	t.Helper()
	servers, router, laptop := newNamespace(t, "s"), newNamespace(t, "r"), newNamespace(t, "l")
	wire(t, servers, "net", "203.0.113.1/24", router, "pub", "203.0.113.254/24")
	wire(t, laptop, "wifi", "198.51.100.10/24", router, "air", "198.51.100.1/24")
	wire(t, laptop, "cable", "10.9.0.10/24", router, "desk", "10.9.0.1/24")
	laptop.run(t, "ip", "link", "set", "cable", "down")
	servers.run(t, "ip", "route", "add", "default", "via", "203.0.113.254")
	laptop.run(t, "ip", "route", "add", "default", "via", "198.51.100.1")
	router.run(t, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

	w := &network{t: t, extra: options{ns: servers}}
	w.bootstrap = run(t, "bootstrap", w.extra, away("bootstrap", []string{"/ip4/203.0.113.1/udp/4001/quic-v1"}, "--stun-listen", "none")...)
	v := &travel{network: w, servers: servers, laptopNS: laptop, hub: w.bootstrap.addressWith("quic")}
	w.speaker = run(t, "speaker", w.extra, away("speak", serverListen, "--bootstrap", v.hub, "--input", "test", "--slots", "1")...)
	w.speaker.Live(10 * time.Second)
	v.laptop = run(t, "laptop", options{ns: laptop}, away("join", nil, "--bootstrap", v.hub, "--slots", "1", w.speaker.Line("room"))...)
	v.laptop.Live(10 * time.Second)
	return v
}

var serverListen = []string{"/ip4/203.0.113.1/udp/0/quic-v1"}

// child starts a node beside the servers that ends up below the laptop.
func (v *travel) child() *Node {
	v.t.Helper()
	n := run(v.t, "below", v.extra, away("join", serverListen, "--bootstrap", v.hub, "--slots", "1", v.speaker.Line("room"))...)
	if s := n.Live(10 * time.Second); *s.Parent != v.laptop.Line("peer") {
		v.t.Fatalf("the node below hangs on %s", *s.Parent)
	}
	return n
}

// change puts the laptop from one network to another, and says when that began.
func (v *travel) change(from, to, gateway string) time.Time {
	v.t.Helper()
	began := time.Now()
	v.laptopNS.run(v.t, "ip", "link", "set", from, "down")
	v.laptopNS.run(v.t, "ip", "link", "set", to, "up")
	v.laptopNS.run(v.t, "ip", "route", "replace", "default", "via", gateway)
	return began
}

// back waits until media comes again and returns how long that took from began on.
func (n *Node) back(began time.Time, limit time.Duration) time.Duration {
	n.t.Helper()
	before, err := n.Stream()
	if err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, limit-time.Since(began), n.Name+" is back", func() error {
		s, err := n.Stream()
		if err == nil && (s.State != "live" || received(s) < received(before)+10) {
			err = errors.New("no more media")
		}
		return err
	})
	return time.Since(began)
}

// A laptop goes from Wi-Fi to cable: its links go on from the new address, up and down.
// When it goes back, the others' firewall lets nobody in who was not spoken to: it gets
// new links.
func TestWiFiToCable(t *testing.T) {
	v := newTravel(t)
	below := v.child()
	began := v.change("wifi", "cable", "10.9.0.1")
	took := v.laptop.back(began, 5*time.Second)
	pause(3 * time.Second) // lost is what has not come within 2 s
	for _, n := range []*Node{v.laptop, below} {
		s, err := n.Stream()
		if err != nil {
			t.Fatal(err)
		}
		gap := 0.0 // none that anybody noticed
		if s.LastGapMS != nil {
			gap = *s.LastGapMS
		}
		t.Logf("%s: live again after %.2f s, last gap %.0f ms, %d switches, %d lost", n.Name, took.Seconds(), gap, s.Switches, lost(s))
		if lost(s) > 0 {
			t.Errorf("%s lost %d packets", n.Name, lost(s))
		}
	}
	if s := below.Live(time.Second); *s.Parent != v.laptop.Line("peer") {
		t.Errorf("the laptop lost its child to %s", *s.Parent)
	}

	below.Stop() // both would be after the speaker's one slot
	v.servers.rules(t, `
table inet door {
	chain in {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		udp dport 4001 accept
		ct state established,related accept
	}
}
`)
	began = v.change("cable", "wifi", "198.51.100.1")
	took = v.laptop.back(began, 5*time.Second)
	t.Logf("behind a firewall: live again after %.2f s", took.Seconds())
}

// A laptop sleeps, its network down: it is back soon after it wakes.
func TestSuspend(t *testing.T) {
	v := newTravel(t)
	sleep := 7 * time.Second // longer than links live without a sign of life
	if *long {
		sleep = 30 * time.Second
		v.child()
	}
	v.laptopNS.run(t, "ip", "link", "set", "wifi", "down")
	v.laptop.cmd.Process.Signal(syscall.SIGSTOP)
	pause(sleep)
	v.laptopNS.run(t, "ip", "link", "set", "wifi", "up")
	v.laptopNS.run(t, "ip", "route", "add", "default", "via", "198.51.100.1")
	began := time.Now()
	v.laptop.cmd.Process.Signal(syscall.SIGCONT)
	t.Logf("live again %.2f s after %v of sleep", v.laptop.back(began, 5*time.Second).Seconds(), sleep)
}
