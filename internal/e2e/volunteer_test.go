package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
)

// freeUDP is a port of 127.0.0.1 that nobody uses at the moment.
func freeUDP(t testing.TB) int {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// A volunteer's service is restarted under a room: it is the same node again, the room has
// not noticed, its peers are back within seconds, and newcomers find the room. (-long: 20
// peers)
func TestBootstrapRestarts(t *testing.T) {
	t.Parallel() // it waits most of the time
	peers := 6
	if *long {
		peers = 20
	}
	args := append([]string{"bootstrap"}, local...)
	args[2] = fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", freeUDP(t))
	w := &network{t: t, bootstrap: run(t, "bootstrap", options{}, args...)}
	w.speaker = run(t, "speaker", options{}, w.args("speak", "--input", "test")...)
	for range peers {
		w.join()
	}
	for _, n := range w.listeners {
		n.Live(20 * time.Second)
	}
	begun := time.Now()
	if code := w.bootstrap.Stop(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	t.Logf("it left within %v", time.Since(begun).Round(time.Millisecond))
	pause(3 * time.Second)
	again := run(t, "bootstrap again", options{home: w.bootstrap.Home}, args...)
	if a, b := again.Line("address"), w.bootstrap.Line("address"); a != b {
		t.Fatalf("it was %s and is %s", b, a)
	}
	begun = time.Now()
	eventually(t, 30*time.Second, "its peers are back", func() error {
		st, err := again.Status()
		if err == nil && st.DHT.Connected < peers+1 {
			err = fmt.Errorf("%d of %d", st.DHT.Connected, peers+1)
		}
		return err
	})
	t.Logf("%d peers were back after %v", peers+1, time.Since(begun).Round(time.Millisecond))
	begun = time.Now()
	w.join().Live(20 * time.Second)
	t.Logf("a newcomer was live after %v", time.Since(begun).Round(time.Millisecond))
	pause(2 * time.Second) // lost is what has not come within 2 s
	w.checkLoss()
}

// The bootstrap node of the ticket is gone for good: who was in the room comes back by the
// peers that it remembers.
func TestRoomSurvivesItsBootstrapNode(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := launch(t, options{}, "--input", "test")
	second := run(t, "second", options{}, w.args("bootstrap")...)
	ticket := w.speaker.Line("ticket")
	second.Line("ready")
	eventually(t, 10*time.Second, "the bootstrap nodes know each other", func() error {
		st, err := second.Status()
		if err == nil && st.DHT.Table == 0 {
			err = errNotYet
		}
		return err
	})
	guest := w.join()
	guest.Live(15 * time.Second)
	for _, n := range []*Node{guest, w.speaker} {
		eventually(t, 20*time.Second, n.Name+" has met both", func() error {
			st, err := n.Status()
			if err == nil && st.DHT.Table < 2 {
				err = errNotYet
			}
			return err
		})
	}
	pause(12 * time.Second) // the speaker looks every 10 s whether there are new servers for its records
	guest.Stop()
	w.bootstrap.Kill()
	again := run(t, "guest again", options{home: guest.Home}, slices.Concat([]string{"join"}, local, []string{ticket})...)
	again.Live(30 * time.Second)
}

// Who names no STUN server asks the bootstrap node.
func TestBootstrapNodeIsTheSTUNServer(t *testing.T) {
	there, here := newNamespace(t, "s"), newNamespace(t, "l")
	wire(t, there, "eth", "203.0.113.1/24", here, "eth", "203.0.113.2/24")
	rules := filepath.Join(t.TempDir(), "count.nft")
	if err := os.WriteFile(rules, []byte(`
table inet count {
	chain in { type filter hook input priority filter; udp dport 3478 counter; }
}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	there.run(t, "nft", "-f", rules)
	flags := func(command, ip string, more ...string) []string {
		return slices.Concat([]string{command, "--listen", "/ip4/" + ip + "/udp/0/quic-v1", "--mdns=false", "--console", "127.0.0.1:0"}, more)
	}
	bootstrap := run(t, "bootstrap", options{ns: there}, flags("bootstrap", "203.0.113.1")...)
	hub := bootstrap.Line("address")
	speaker := run(t, "speaker", options{ns: there}, flags("speak", "203.0.113.1", "--stun", "none", "--input", "test", "--bootstrap", hub)...)
	speaker.Live(10 * time.Second)
	run(t, "listener", options{ns: here}, flags("join", "203.0.113.2", speaker.Line("ticket"))...).Live(20 * time.Second)
	out, err := exec.Command(need.Program(t, "ip"), "netns", "exec", there.name, "nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if m := regexp.MustCompile(`counter packets (\d+)`).FindSubmatch(out); m == nil || string(m[1]) == "0" {
		t.Errorf("the bootstrap node was not asked:\n%s", out)
	}
}

// The service's unit is one that systemd takes, and confines what it runs.
func TestServiceUnit(t *testing.T) {
	analyze := need.Program(t, "systemd-analyze")
	root, err := need.Module()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "scripts", "wfnode-bootstrap.service"))
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "wfnode-bootstrap.service")
	// verify looks for the program.
	text := strings.ReplaceAll(string(b), "/usr/local/bin/wfnode", wfnode)
	text = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(text, "")
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), "wfnode-bootstrap.service") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold=20", unit).CombinedOutput()
	if err != nil {
		t.Errorf("its exposure is above 2.0: %v\n%s", err, out)
	}
	if m := regexp.MustCompile(`Overall exposure level.*`).Find(out); m != nil {
		t.Logf("%s", m)
	}
}
