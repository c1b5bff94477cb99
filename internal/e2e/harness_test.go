package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/node"
)

// local are the flags of a node that lives on this machine alone.
var local = []string{"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false", "--stun", "none", "--console", "127.0.0.1:0"}

// Node is one wfnode process. It ends with its test.
type Node struct {
	t       testing.TB
	Name    string
	Home    string
	Started time.Time

	cmd    *exec.Cmd
	group  bool // the process leads a group of its own
	client http.Client
	ended  chan struct{} // closed when the process is gone and its output read

	mu     sync.Mutex // guards the rest, which the readers of its output write
	said   map[string]line
	change chan struct{} // closed and replaced whenever something was said
	stdout tail
	stderr tail
	err    error // of the process
}

// line is a start line, `key: value`, the first of its key.
type line struct {
	value string
	at    time.Time
}

// options of a process; the zero value is a fresh home and our own network.
type options struct {
	home  string
	env   []string   // KEY=value
	ns    *namespace // run in there
	stdin io.Reader  // nil: none
	// shell: args are one line for sh, which may start several processes; dir is where.
	shell bool
	dir   string
}

// run starts `wfnode args…` with a home of its own.
func run(t testing.TB, name string, o options, args ...string) *Node {
	t.Helper()
	n := &Node{
		t: t, Name: name, Home: o.home,
		ended: make(chan struct{}), said: map[string]line{}, change: make(chan struct{}),
	}
	if n.Home == "" {
		n.Home = filepath.Join(t.TempDir(), "home")
	}
	argv := append([]string{wfnode}, args...)
	if o.shell {
		argv = []string{"sh", "-c", "trap : INT; " + args[0]} // the shell goes on, so its exit code is that of what it ran
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if o.ns != nil {
		argv = append([]string{need.Program(t, "ip"), "netns", "exec", o.ns.name}, argv...)
		transport.DialContext = o.ns.dial
	}
	n.client = http.Client{Transport: transport, Timeout: 3 * time.Second}
	n.cmd = exec.Command(argv[0], argv[1:]...)
	n.cmd.Stdin = o.stdin
	n.cmd.Env = append(append(os.Environ(), "WFNODE_HOME="+n.Home), o.env...)
	// A test binary that dies must not leave nodes behind.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: o.shell}
	n.cmd.Dir, n.group = o.dir, o.shell
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.cmd.Stderr = &n.stderr
	n.Started = time.Now()
	if err := n.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go n.read(stdout)
	t.Cleanup(n.cleanup)
	return n
}

// read takes the process's output until it ends.
func (n *Node) read(stdout io.Reader) {
	defer close(n.ended)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Fprintln(&n.stdout, lines.Text())
		key, value, _ := strings.Cut(lines.Text(), ":")
		n.mu.Lock()
		if _, again := n.said[key]; !again {
			n.said[key] = line{strings.TrimSpace(value), time.Now()}
		}
		close(n.change)
		n.change = make(chan struct{})
		n.mu.Unlock()
	}
	err := n.cmd.Wait()
	n.mu.Lock()
	n.err = err
	n.mu.Unlock()
}

// Line waits for a start line and returns its value.
func (n *Node) Line(key string) string {
	n.t.Helper()
	return n.LineWithin(key, 20*time.Second).value
}

// LineWithin is Line with a time limit, and tells when the line came.
func (n *Node) LineWithin(key string, limit time.Duration) line {
	n.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		n.mu.Lock()
		l, ok := n.said[key]
		change := n.change
		n.mu.Unlock()
		if ok {
			return l
		}
		select {
		case <-change:
		case <-n.ended:
			n.mu.Lock()
			l, ok := n.said[key]
			n.mu.Unlock()
			if ok {
				return l
			}
			n.t.Fatalf("%s ended without having said %q", n.Name, key)
		case <-timeout.C:
			n.t.Fatalf("%s has not said %q within %v", n.Name, key, limit)
		}
	}
}

// Kill is kill -9.
func (n *Node) Kill() {
	n.signal(syscall.SIGKILL)
	<-n.ended
}

// signal reaches the process and, of a shell, what it has started.
func (n *Node) signal(s syscall.Signal) {
	if n.group {
		syscall.Kill(-n.cmd.Process.Pid, s)
	} else {
		n.cmd.Process.Signal(s)
	}
}

// Stop is Ctrl-C; it returns the exit code. It fails the test when the process is not
// gone after 5 s.
func (n *Node) Stop() int {
	n.t.Helper()
	n.signal(syscall.SIGINT)
	return n.Wait(5 * time.Second)
}

// Wait waits for the process's own end and returns the exit code.
func (n *Node) Wait(limit time.Duration) int {
	n.t.Helper()
	select {
	case <-n.ended:
	case <-time.After(limit):
		n.t.Fatalf("%s still runs after %v", n.Name, limit)
	}
	return n.cmd.ProcessState.ExitCode()
}

func (n *Node) cleanup() {
	n.signal(syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(4 * time.Second):
		n.t.Errorf("%s did not end within 4 s of SIGTERM", n.Name)
		n.Kill()
	}
	if errs := n.stderr.String(); strings.Contains(errs, "panic:") || strings.Contains(errs, "fatal error:") {
		n.t.Errorf("%s panicked", n.Name)
	}
	if n.t.Failed() {
		n.t.Logf("---- %s\n%s%s", n.Name, n.stdout.String(), n.stderr.String())
	}
}

// Status asks the node what it is doing.
func (n *Node) Status() (*node.Status, error) {
	var s node.Status
	return &s, n.get("api/v1/status", func(b []byte) error { return json.Unmarshal(b, &s) })
}

func (n *Node) get(path string, use func([]byte) error) error {
	n.t.Helper()
	resp, err := n.client.Get(n.Line("console") + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, bytes.TrimSpace(b))
	}
	return use(b)
}

// Stream is the node's only stream; an error while it has none.
func (n *Node) Stream() (node.StreamStatus, error) {
	s, err := n.Status()
	if err != nil {
		return node.StreamStatus{}, err
	}
	if len(s.Rooms) != 1 || len(s.Rooms[0].Streams) != 1 {
		return node.StreamStatus{}, fmt.Errorf("%s has no stream yet", n.Name)
	}
	return s.Rooms[0].Streams[0], nil
}

// Live waits until the node's only stream is live here and returns it.
func (n *Node) Live(limit time.Duration) node.StreamStatus {
	n.t.Helper()
	return n.When(limit, "live", func(s node.StreamStatus) bool {
		return s.State == "live" && s.Layer != nil && received(s) > 0
	})
}

// When waits until the node's only stream is as wanted.
func (n *Node) When(limit time.Duration, what string, ok func(node.StreamStatus) bool) node.StreamStatus {
	n.t.Helper()
	var s node.StreamStatus
	eventually(n.t, limit, n.Name+" is "+what, func() (err error) {
		if s, err = n.Stream(); err == nil && !ok(s) {
			err = fmt.Errorf("state %s, layer %s, %d children, %d packets", s.State, number(s.Layer), len(s.Children), received(s))
		}
		return err
	})
	return s
}

func number(n *int) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}

// received is how many packets of all tracks have come.
func received(s node.StreamStatus) (sum uint64) {
	for _, t := range s.Tracks {
		sum += t.Received
	}
	return sum
}

// lost is how many packets of all tracks never came.
func lost(s node.StreamStatus) (sum uint64) {
	for _, t := range s.Tracks {
		sum += t.Lost
	}
	return sum
}

// eventually asks again, every 20 ms, until ok says nil.
func eventually(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %s: %v", limit, what, err)
		}
	}
}

// pause lets media run for a while: what a test then looks at is what happened meanwhile.
func pause(d time.Duration) { <-time.After(d) }

// tail keeps the last of what a process said.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 16 << 10

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p...)
	if over := len(w.b) - tailSize; over > 0 {
		w.b = append(w.b[:0], w.b[over:]...)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.b)
}

// command runs wfnode to its end and returns its exit code and output.
func command(t testing.TB, limit time.Duration, o options, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	n := run(t, args[0], o, args...)
	code = n.Wait(limit)
	return code, n.stdout.String(), n.stderr.String()
}

// errNotYet is what eventually is told while there is no more to say.
var errNotYet = errors.New("not yet")
