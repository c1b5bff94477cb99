package e2e

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
)

// wfnode is the binary under test.
var wfnode string

func TestMain(m *testing.M) {
	if by := os.Getenv(routerEnv); by != "" {
		fmt.Fprintln(os.Stderr, serveRouter(by)) // until it is killed
		os.Exit(1)
	}
	if at := os.Getenv(callerEnv); at != "" {
		if err := call(at); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Setenv("WFNODE_MAP_PORTS", "false") // no test asks this machine's router
	bin, err := need.Build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	wfnode = bin
	os.Exit(m.Run())
}

// network is a bootstrap node, a speaker and whoever joins them, on loopback.
type network struct {
	t         testing.TB
	bootstrap *Node
	speaker   *Node
	listeners []*Node
	extra     options
}

// launch starts a bootstrap node and a speaker with args (`--input test` …).
func launch(t testing.TB, o options, args ...string) *network {
	t.Helper()
	w := &network{t: t, extra: o}
	w.bootstrap = run(t, "bootstrap", o, append([]string{"bootstrap"}, local...)...)
	w.speaker = run(t, "speaker", o, w.args("speak", args...)...)
	return w
}

func (w *network) args(command string, more ...string) []string {
	return slices.Concat([]string{command}, local, []string{"--bootstrap", w.bootstrap.Line("address")}, more)
}

// join starts one more listener, by the bare room ID.
func (w *network) join(args ...string) *Node {
	w.t.Helper()
	room := w.speaker.Line("room")
	n := run(w.t, fmt.Sprintf("listener %d", len(w.listeners)+1), w.extra, w.args("join", append([]string{room}, args...)...)...)
	w.listeners = append(w.listeners, n)
	return n
}

// chain starts n listeners one below the other (every node has one slot) and returns
// the last, in layer n. The speaker must have been launched with --slots 1.
func (w *network) chain(n int, last ...string) *Node {
	w.t.Helper()
	for layer := 1; layer <= n; layer++ {
		args := []string{"--slots", "1"}
		if layer == n {
			args = append(args, last...)
		}
		if s := w.join(args...).Live(15 * time.Second); *s.Layer != layer {
			w.t.Fatalf("listener %d of a chain stands in layer %d", layer, *s.Layer)
		}
	}
	return w.listeners[len(w.listeners)-1]
}

// checkPaths asserts that nobody is its own ancestor and that everybody's path begins
// at the speaker and ends at its parent.
func (w *network) checkPaths() {
	w.t.Helper()
	root := w.speaker.Line("peer")
	for _, n := range w.running() {
		s, err := n.Stream()
		if err != nil {
			w.t.Error(err)
			continue
		}
		self := n.Line("peer")
		if len(s.Path) == 0 || s.Path[0] != root || s.Parent == nil || s.Path[len(s.Path)-1] != *s.Parent || slices.Contains(s.Path, self) {
			w.t.Errorf("%s (%s): path %v", n.Name, self, s.Path)
		}
	}
}

// running lists the listeners whose processes have not ended.
func (w *network) running() []*Node {
	return slices.DeleteFunc(slices.Clone(w.listeners), func(n *Node) bool {
		select {
		case <-n.ended:
			return true
		default:
			return false
		}
	})
}
