package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/watergy/waterfall/node"
)

const image = "waterfall"

// lab is a docker network of containers of ours, which go when it is closed.
type lab struct {
	id    string // of everything that it makes
	boots []string
	room  string

	mu    sync.Mutex
	nodes []*container
	nets  []string
}

// container is one node.
type container struct {
	name    string // within the lab
	started time.Time
	gone    bool // somebody has killed it
}

func newLab(ctx context.Context) (*lab, error) {
	l := &lab{id: fmt.Sprintf("wfscenario%d", os.Getpid())}
	if _, err := docker(ctx, "image", "inspect", image); err != nil {
		return nil, fmt.Errorf("the image is not there: %w (hint: make image)", err)
	}
	return l, l.network(ctx, l.id)
}

// docker runs a docker command and returns what it printed.
func docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

func (l *lab) network(ctx context.Context, name string, options ...string) error {
	_, err := docker(ctx, slices.Concat([]string{"network", "create"}, options, []string{name})...)
	if err == nil {
		l.nets = append(l.nets, name)
	}
	return err
}

// close takes away whatever the lab has made, also after an interrupt.
func (l *lab) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var errs []error
	if ids, err := docker(ctx, "ps", "-aq", "--filter", "label="+l.id); err != nil {
		errs = append(errs, err)
	} else if ids != "" {
		_, err := docker(ctx, append([]string{"rm", "-fv"}, strings.Fields(ids)...)...)
		errs = append(errs, err)
	}
	for _, n := range l.nets {
		// docker forgets a container's place in a network a moment after the container.
		_, err := docker(ctx, "network", "rm", n)
		for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end) && ctx.Err() == nil; {
			wait(ctx, time.Second)
			_, err = docker(ctx, "network", "rm", n)
		}
		if err != nil && empty(ctx, n) {
			// Docker 20.10 may hold on to the endpoint of a container that is gone. That says
			// nothing of the scenario.
			fmt.Fprintf(os.Stderr, "the network %s is empty, and docker does not let go of it (hint: it does when it is started again)\n", n)
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// empty says that no container is in a network.
func empty(ctx context.Context, network string) bool {
	list, err := docker(ctx, "network", "inspect", "-f", "{{len .Containers}}", network)
	return err == nil && list == "0"
}

// full is a container's name in docker.
func (l *lab) full(name string) string { return l.id + "-" + name }

// run starts a node in the lab's network; options go to docker run.
func (l *lab) run(ctx context.Context, name string, options []string, args ...string) (*container, error) {
	all := []string{"run", "-d", "--label", l.id, "--name", l.full(name), "--hostname", name}
	if !slices.Contains(options, "--network") {
		all = append(all, "--network", l.id)
	}
	c := &container{name: name, started: time.Now()}
	if _, err := docker(ctx, slices.Concat(all, options, []string{image}, args)...); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes = append(l.nodes, c)
	return c, nil
}

// said waits for a start line of a node.
func (l *lab) said(ctx context.Context, name, key string) (string, error) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && ctx.Err() == nil; wait(ctx, 100*time.Millisecond) {
		out, err := docker(ctx, "logs", l.full(name))
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(out) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+": "); ok {
				return v, nil
			}
		}
	}
	return "", fmt.Errorf("%s has not said %q", name, key)
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// address is where a container is found in the lab's own network.
func (l *lab) address(ctx context.Context, name string) (string, error) {
	return docker(ctx, "inspect", "-f", fmt.Sprintf(`{{(index .NetworkSettings.Networks %q).IPAddress}}`, l.id), l.full(name))
}

// begin starts two bootstrap nodes and a speaker of the clip.
func (l *lab) begin(ctx context.Context) error {
	for i, name := range []string{"bootstrap1", "bootstrap2"} {
		args := []string{"bootstrap", "--listen", "/ip4/0.0.0.0/udp/4001/quic-v1", "--stun", "none", "--mdns=false", "--map-ports=false"}
		if i > 0 {
			args = append(args, "--bootstrap", l.boots[0])
		}
		if _, err := l.run(ctx, name, nil, args...); err != nil {
			return err
		}
		id, err := l.said(ctx, name, "peer")
		if err != nil {
			return err
		}
		ip, err := l.address(ctx, name)
		if err != nil {
			return err
		}
		l.boots = append(l.boots, "/ip4/"+ip+"/udp/4001/quic-v1/p2p/"+id)
	}
	if _, err := l.run(ctx, "speaker", nil, append([]string{"speak", "--input", "test"}, l.common()...)...); err != nil {
		return err
	}
	var err error
	l.room, err = l.said(ctx, "speaker", "room")
	return err
}

func (l *lab) common() []string {
	flags := []string{"--mdns=false", "--map-ports=false", "--stun", "none"}
	for _, b := range l.boots {
		flags = append(flags, "--bootstrap", b)
	}
	return flags
}

// listeners starts nodes that listen, all at once.
func (l *lab) listeners(ctx context.Context, prefix string, n int) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			_, errs[i] = l.run(ctx, fmt.Sprintf("%s%02d", prefix, i+1), nil, append([]string{"join", l.room}, l.common()...)...)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// lastWords is the last line that a node wrote.
func (l *lab) lastWords(ctx context.Context, name string) string {
	out, err := exec.CommandContext(ctx, "docker", "logs", "--tail", "3", l.full(name)).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(out)), "\n"), " | ")
}

// kill is kill -9.
func (l *lab) kill(ctx context.Context, name string) error {
	l.mu.Lock()
	for _, c := range l.nodes {
		if c.name == name {
			c.gone = true
		}
	}
	l.mu.Unlock()
	_, err := docker(ctx, "rm", "-fv", l.full(name))
	return err
}

// seen is what a node's status says of the one stream.
type seen struct {
	*container
	peer   string
	stream *node.StreamStatus // nil: no answer, or no stream yet
}

func (s seen) live() bool { return s.stream != nil && s.stream.State == "live" }

func (s seen) sums() (received, lost, repaired uint64) {
	if s.stream == nil {
		return 0, 0, 0
	}
	for _, t := range s.stream.Tracks {
		received += t.Received
		lost += t.Lost
		repaired += t.Repaired
	}
	return received, lost, repaired
}

// look asks every node that takes part in the stream, four at a time.
func (l *lab) look(ctx context.Context) []seen {
	l.mu.Lock()
	nodes := slices.Clone(l.nodes)
	l.mu.Unlock()
	var list []seen
	for _, c := range nodes {
		if !c.gone && (c.name == "speaker" || strings.HasPrefix(c.name, "listener")) {
			list = append(list, seen{container: c})
		}
	}
	slots := make(chan struct{}, 4)
	var all sync.WaitGroup
	for i := range list {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			out, err := docker(ctx, "exec", l.full(list[i].name), "/wfnode", "status", "--json")
			var st node.Status
			if err != nil || json.Unmarshal([]byte(out), &st) != nil {
				return
			}
			list[i].peer = st.PeerID
			if len(st.Rooms) == 1 && len(st.Rooms[0].Streams) == 1 {
				list[i].stream = &st.Rooms[0].Streams[0]
			}
		})
	}
	all.Wait()
	return list
}

// allLive waits until every node has the stream, below nodes that are there.
func (l *lab) allLive(ctx context.Context, within time.Duration) error {
	missing := []string{"nobody has been asked"}
	for end := time.Now().Add(within); len(missing) > 0; {
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("after %v these are not live: %s", within, strings.Join(missing, ", "))
		}
		list := l.look(ctx)
		there := map[string]bool{}
		for _, s := range list {
			there[s.peer] = s.peer != ""
		}
		missing = nil
		for _, s := range list {
			if !s.live() || s.stream.Role != "speaker" && (s.stream.Parent == nil || !there[*s.stream.Parent]) {
				missing = append(missing, s.name)
			}
		}
	}
	return nil
}

// checkLoops: nobody may be its own ancestor.
func (l *lab) checkLoops(ctx context.Context) error {
	for _, s := range l.look(ctx) {
		if s.stream != nil && slices.Contains(s.stream.Path, s.peer) {
			return fmt.Errorf("%s is in its own path", s.name)
		}
	}
	return nil
}

// table shows how every node stands.
func (l *lab) table(ctx context.Context) {
	list := l.look(ctx)
	names := map[string]string{}
	for _, s := range list {
		names[s.peer] = s.name
	}
	fmt.Printf("\n%-14s %-8s %5s  %-14s %8s %9s %6s %9s %8s %8s\n",
		"node", "state", "layer", "parent", "children", "received", "lost", "repaired", "switches", "frame ms")
	for _, s := range list {
		if s.stream == nil {
			fmt.Printf("%-14s %-8s %s\n", s.name, "–", l.lastWords(ctx, s.name))
			continue
		}
		layer, parent, frame := "–", "–", "–"
		if s.stream.Layer != nil {
			layer = fmt.Sprint(*s.stream.Layer)
		}
		if s.stream.Parent != nil {
			parent = names[*s.stream.Parent]
		}
		if s.stream.Join.FirstFrameMS != nil {
			frame = fmt.Sprintf("%.0f", *s.stream.Join.FirstFrameMS)
		}
		received, lost, repaired := s.sums()
		fmt.Printf("%-14s %-8s %5s  %-14s %8d %9d %6d %9d %8d %8s\n", s.name, s.stream.State, layer, parent,
			s.stream.Slots.Used, received, lost, repaired, s.stream.Switches, frame)
	}
	fmt.Println()
}
