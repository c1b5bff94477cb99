// Package docker runs wfnode in containers on two networks that can't reach each other.
package docker

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/node"
)

// network is a running compose project.
type network struct {
	t      testing.TB
	docker string
	env    []string
}

// container is one node of it.
type container struct {
	id, service string
}

// start builds the image and brings up the compose file with ./up; ./down follows
// whatever happens.
func start(t testing.TB, each int) *network {
	t.Helper()
	n := &network{t: t, docker: need.Docker(t)}
	need.Compose(t)
	n.env = append(os.Environ(), fmt.Sprintf("COMPOSE_PROJECT_NAME=wftest%d", os.Getpid()))
	root, err := need.Module()
	if err != nil {
		t.Fatal(err)
	}
	n.run("make", "--no-print-directory", "-C", root, "image")
	t.Cleanup(func() {
		if t.Failed() {
			n.logs()
		}
		n.run("./down")
	})
	n.run("./up", fmt.Sprint(each))
	return n
}

func (n *network) run(name string, args ...string) string {
	n.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = n.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// containers lists the running containers of a service, "listener-a" or "listener" for both.
func (n *network) containers(service string) []container {
	n.t.Helper()
	out := n.run(n.docker, "ps", "--no-trunc",
		"--filter", fmt.Sprintf("label=com.docker.compose.project=wftest%d", os.Getpid()),
		"--format", `{{.ID}} {{.Label "com.docker.compose.service"}}`)
	var cs []container
	for line := range strings.Lines(out) {
		var c container
		fmt.Sscan(line, &c.id, &c.service)
		if strings.HasPrefix(c.service, service) {
			cs = append(cs, c)
		}
	}
	return cs
}

func (n *network) logs() {
	for _, c := range n.containers("") {
		out, _ := exec.Command(n.docker, "logs", "--tail", "15", c.id).CombinedOutput()
		n.t.Logf("%s %s:\n%s", c.service, c.id[:12], out)
	}
}

// status asks a container's node; nil while it does not answer.
func (n *network) status(c container) *node.Status {
	out, err := exec.Command(n.docker, "exec", c.id, "/wfnode", "status", "--json").Output()
	if err != nil {
		return nil
	}
	var s node.Status
	if json.Unmarshal(out, &s) != nil {
		return nil
	}
	return &s
}

// seen is what the status documents of the whole network say at one time.
type seen struct {
	containers map[string]container // by peer ID
	streams    map[string]node.StreamStatus
}

// live waits until all listeners are live below nodes that run, and the speaker counts them all.
func (n *network) live(listeners int, within time.Duration) seen {
	n.t.Helper()
	for end := time.Now().Add(within); ; {
		s := seen{map[string]container{}, map[string]node.StreamStatus{}}
		live, counted := 0, 0
		for _, c := range append(n.containers("listener"), n.containers("speaker")...) {
			st := n.status(c)
			if st == nil || len(st.Rooms) != 1 || len(st.Rooms[0].Streams) != 1 {
				continue
			}
			stream := st.Rooms[0].Streams[0]
			s.containers[st.PeerID], s.streams[st.PeerID] = c, stream
		}
		for _, stream := range s.streams {
			if stream.Role == "speaker" {
				counted = stream.Subtree - 1
			} else if stream.State == "live" && stream.Parent != nil && s.containers[*stream.Parent].id != "" {
				live++ // below a node that still runs
			}
		}
		if live == listeners && counted == listeners {
			return s
		}
		if time.Now().After(end) {
			n.t.Fatalf("%d of %d listeners are live after %v; the speaker counts %d", live, listeners, within, counted)
		}
	}
}

// check asserts what must hold whenever all are live.
func (s seen) check(t testing.TB) {
	t.Helper()
	for id, stream := range s.streams {
		c := s.containers[id]
		if slices.Contains(stream.Path, id) {
			t.Errorf("%s is in its own path: a loop", id)
		}
		for _, track := range stream.Tracks {
			if track.Lost != 0 {
				t.Errorf("%s lost %d packets of %s", c.service, track.Lost, track.ID)
			}
		}
		if stream.Parent == nil {
			continue
		}
		if parent := s.containers[*stream.Parent]; parent.service != "speaker" && parent.service != c.service {
			t.Errorf("a %s has a parent on the other network, which it can't reach", c.service)
		}
	}
}

// received is how many packets of all tracks a node has had.
func received(s node.StreamStatus) (sum uint64) {
	for _, track := range s.Tracks {
		sum += track.Received
	}
	return sum
}

func TestTwelveListenersOnTwoNetworks(t *testing.T) {
	const each = 6
	n := start(t, each)
	before := n.live(2*each, 30*time.Second)
	before.check(t)

	// A relay dies: those below it go elsewhere, without loss.
	var victim string
	for id, s := range before.streams {
		if s.Role == "relay" && len(s.Children) > 0 && (victim == "" || id < victim) {
			victim = id
		}
	}
	if victim == "" {
		t.Fatal("twelve listeners and no relay among them")
	}
	orphans := before.streams[victim].Children
	n.run(n.docker, "kill", before.containers[victim].id)

	after := n.live(2*each-1, 30*time.Second)
	after.check(t)
	for _, child := range orphans {
		s, ok := after.streams[child.Peer]
		if !ok {
			t.Fatalf("%s is gone with its parent", child.Peer)
		}
		if received(s) <= received(before.streams[child.Peer]) {
			t.Errorf("%s received nothing after its parent's death", child.Peer)
		}
	}
	t.Logf("a relay with %d children was killed; switches: %d", len(orphans), switches(after))
}

func switches(s seen) (sum int) {
	for _, stream := range s.streams {
		sum += stream.Switches
	}
	return sum
}
