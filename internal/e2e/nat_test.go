package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/watergy/waterfall/internal/need"
)

// namespace is a network namespace of the test's own.
type namespace struct {
	name string
	ip   string // path of the ip program
}

// newNamespace makes one, with its loopback up; it goes with the test.
func newNamespace(t testing.TB, name string) *namespace {
	t.Helper()
	need.Root(t)
	ns := &namespace{name: fmt.Sprintf("wf%d%s", os.Getpid(), name), ip: need.Program(t, "ip")}
	to(t, 5*time.Second, "ip", "netns", "add", ns.name)
	t.Cleanup(func() { to(t, 5*time.Second, "ip", "netns", "del", ns.name) })
	ns.run(t, "ip", "link", "set", "lo", "up")
	return ns
}

// run runs a command in the namespace.
func (ns *namespace) run(t testing.TB, args ...string) {
	t.Helper()
	to(t, 5*time.Second, "ip", append([]string{"netns", "exec", ns.name}, args...)...)
}

// wire joins two namespaces by a cable; each end is named after the other side and has
// the given address.
func wire(t testing.TB, a *namespace, aName, aAddr string, b *namespace, bName, bAddr string) {
	t.Helper()
	a.run(t, "ip", "link", "add", aName, "type", "veth", "peer", "name", bName, "netns", b.name)
	a.run(t, "ip", "addr", "add", aAddr, "dev", aName)
	a.run(t, "ip", "link", "set", aName, "up")
	b.run(t, "ip", "addr", "add", bAddr, "dev", bName)
	b.run(t, "ip", "link", "set", bName, "up")
}

// dial connects from inside the namespace. A thread's network namespace is its own, so
// the thread goes in, makes the socket, and comes back.
func (ns *namespace) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := os.Open(filepath.Join("/var/run/netns", ns.name))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, back // still locked: the thread ends with its goroutine
	}
	runtime.UnlockOSThread()
	return conn, err
}

// Figure 7, second half: a classroom of 30 behind one NAT address joins a speaker
// outside. The NAT lets in only answers (port-restricted).
func TestThirtyBehindOneNAT(t *testing.T) {
	outside := newNamespace(t, "o")
	room := behindNAT(t, "", outside, "203.0.113", "192.168.77")

	flags := func(command, listen string, more ...string) []string {
		return slices.Concat([]string{command, "--listen", "/ip4/" + listen + "/udp/0/quic-v1",
			"--mdns=false", "--stun", "none", "--console", "127.0.0.1:0"}, more)
	}
	bootstrap := run(t, "bootstrap", options{ns: outside}, flags("bootstrap", "203.0.113.1")...)
	hub := bootstrap.Line("address")
	if !strings.Contains(hub, "203.0.113.1") {
		t.Fatalf("the bootstrap node's address is %s", hub)
	}
	w := &network{t: t, bootstrap: bootstrap, extra: options{ns: room}}
	w.speaker = run(t, "speaker", options{ns: outside}, flags("speak", "203.0.113.1", "--input", "test", "--bootstrap", hub)...)
	w.speaker.Live(10 * time.Second)
	begun := time.Now()
	for i := range 30 {
		w.listeners = append(w.listeners, run(t, fmt.Sprintf("listener %d", i+1), w.extra,
			flags("join", "192.168.77.2", w.speaker.Line("room"), "--bootstrap", hub)...))
	}
	for _, n := range w.listeners {
		n.Live(60 * time.Second)
	}
	t.Logf("30 nodes behind one address live after %.1f s", time.Since(begun).Seconds())
	pause(3 * time.Second) // lost is what has not come within 2 s
	w.checkPaths()
	w.checkLoss()
}
