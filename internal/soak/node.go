package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// network is a room of wfnode processes on loopback.
type network struct {
	program, dir string
	nodes        []*exec.Cmd
}

// wholeNode lets a wfnode process pass the test clip on to many others for long, and says
// whether its memory grows.
func wholeNode(ctx context.Context, program string, children int, long, every time.Duration) error {
	dir, err := os.MkdirTemp("", "wfnode-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	n := &network{program: program, dir: dir}
	defer n.wait()
	defer cancel()
	relay, console, err := n.build(ctx, children)
	if err != nil {
		return err
	}
	var rss []uint64
	fmt.Printf("%8s %10s %10s\n", "after", "RSS MiB", "children")
	start := time.Now()
	for next := start.Add(every); next.Sub(start) <= long; next = next.Add(every) {
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return ctx.Err()
		}
		bytes, err := resident(relay.Process.Pid)
		if err != nil {
			return fmt.Errorf("the relay has ended: %w", err)
		}
		fed, err := metric(ctx, console, "waterfall_stream_children")
		if err != nil {
			return err
		}
		at := next.Sub(start)
		fmt.Printf("%8v %10.1f %10d\n", at, float64(bytes)/mib, fed)
		if fed < children/2 { // on a busy machine some move away
			return fmt.Errorf("the relay feeds %d of %d children", fed, children)
		}
		if at > settle {
			rss = append(rss, bytes)
		}
	}
	if err := grows("RSS", rss); err != nil {
		return err
	}
	fmt.Println("memory does not grow after the first minute")
	return nil
}

// build starts a bootstrap node, a speaker with one slot, a relay that takes it, and the
// relay's children.
func (n *network) build(ctx context.Context, children int) (relay *exec.Cmd, console string, err error) {
	_, said, err := n.start(ctx, "ready", "bootstrap")
	if err != nil {
		return nil, "", err
	}
	_, said, err = n.start(ctx, "ready", "speak", "--input", "test", "--slots", "1", "--bootstrap", said["address"])
	if err != nil {
		return nil, "", err
	}
	ticket := said["ticket"]
	relay, said, err = n.start(ctx, "live", "join", ticket, "--slots", strconv.Itoa(children))
	if err != nil {
		return nil, "", err
	}
	for range children {
		if _, _, err := n.start(ctx, "live", "join", ticket, "--slots", "0"); err != nil {
			return nil, "", err
		}
	}
	return relay, said["console"], nil
}

// start runs a node and waits until it has said until; said is all up to there.
func (n *network) start(ctx context.Context, until string, args ...string) (_ *exec.Cmd, said map[string]string, err error) {
	name := strconv.Itoa(len(n.nodes))
	cmd := exec.CommandContext(ctx, n.program, append(args, "--home", filepath.Join(n.dir, name),
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false", "--stun", "none", "--console", "127.0.0.1:0", "--yes")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	n.nodes = append(n.nodes, cmd)
	said = map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		value, _, _ = strings.Cut(value, " (")
		said[key] = value
		if key == until || strings.HasPrefix(key, until+" (") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // it ends with the process
			return cmd, said, nil
		}
	}
	return nil, nil, fmt.Errorf("%s ended before it said %q", strings.Join(args[:1], " "), until)
}

// wait waits for all processes, which are ending.
func (n *network) wait() {
	for _, cmd := range n.nodes {
		_ = cmd.Wait() // ended by us
	}
}

// resident is a process's resident memory, on Linux.
func resident(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, errors.New("statm is empty")
	}
	pages, err := strconv.ParseUint(f[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

// metric reads a gauge of a node's metrics; 0 if there is none.
func metric(ctx context.Context, console, name string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(console, "/")+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "} "); ok && strings.HasPrefix(key, name+"{") {
			f, err := strconv.ParseFloat(value, 64)
			return int(f), err
		}
	}
	return 0, nil
}
