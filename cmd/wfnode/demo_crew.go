package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/watergy/waterfall/node"
)

// crewGrace is how long the demo's nodes may take to leave (INTERFACE: 3 s).
const crewGrace = 4 * time.Second

// lookTime bounds one look at one node; lookWidth how many are looked at together.
const (
	lookTime  = 2 * time.Second
	lookWidth = 4
)

// proc is one node of the demo: a process of this program. The demo's loop owns it,
// but for the fields below the line, which mu guards.
type proc struct {
	name                           string
	started                        time.Time
	peer, address, console, ticket string
	ready, live, ended             bool
	cmd                            *exec.Cmd
	gone                           chan struct{} // closed when it has ended

	// ----
	mu   sync.Mutex
	said string // last line on standard error
}

// procEvent is a line of a node's standard output, or its end.
type procEvent struct {
	proc  *proc
	name  string
	value string
	ended bool
}

// note keeps what a start line tells.
func (p *proc) note(ev procEvent) {
	switch ev.name {
	case "peer":
		p.peer = ev.value
	case "address":
		p.address = ev.value
	case "console":
		p.console = ev.value
	case "ticket":
		p.ticket = ev.value
	case "ready":
		p.ready = true
	case "live":
		p.live = true
	}
}

// killed says that p has ended by a signal: somebody wanted to see what happens then.
func (p *proc) killed() bool {
	return p.ended && p.cmd.ProcessState.ExitCode() == -1
}

// lastWords is the last that p said on standard error.
func (p *proc) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said
}

// crew runs the demo's processes, and ends them all.
type crew struct {
	dir, exe string
	client   *http.Client
	events   chan procEvent
	quit     chan struct{} // closed: nobody takes events any more
	procs    []*proc
	readers  sync.WaitGroup
	once     sync.Once
}

func newCrew(dir string) (*crew, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &crew{
		dir: dir, exe: exe, client: &http.Client{Timeout: lookTime},
		events: make(chan procEvent), quit: make(chan struct{}),
	}, nil
}

// run starts a node with a home of its own on loopback. Later flags win, so args may
// say otherwise than the common ones.
func (c *crew) run(name, command string, args ...string) (*proc, error) {
	all := append([]string{
		command, "--home", demoHome(c.dir, name), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false",
		"--stun", "none", "--console", "127.0.0.1:0", "--yes", "--json",
	}, args...)
	p := &proc{name: name, started: time.Now(), gone: make(chan struct{}), cmd: exec.Command(c.exe, all...)}
	p.cmd.Env = demoEnv(os.Environ())
	p.cmd.SysProcAttr = apart()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.procs = append(c.procs, p)
	var pipes sync.WaitGroup
	pipes.Go(func() { c.readEvents(p, bufio.NewScanner(out)) })
	pipes.Go(func() { p.readErrors(bufio.NewScanner(stderr)) })
	c.readers.Go(func() {
		pipes.Wait()
		p.cmd.Wait()
		close(p.gone)
		c.tell(procEvent{proc: p, ended: true})
	})
	return p, nil
}

// demoEnv keeps settings of the user's own node out of the demo's, but for those that
// are for trying things out.
func demoEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		switch key {
		case "WFNODE_SIGNAL", "WFNODE_SLOTS", "WFNODE_LOG_LEVEL":
		default:
			if strings.HasPrefix(key, envPrefix) {
				continue
			}
		}
		kept = append(kept, kv)
	}
	return kept
}

func (c *crew) readEvents(p *proc, lines *bufio.Scanner) {
	for lines.Scan() {
		var m map[string]any
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue
		}
		name, _ := m["event"].(string)
		value, _ := m[name].(string)
		c.tell(procEvent{proc: p, name: name, value: value})
	}
}

func (p *proc) readErrors(lines *bufio.Scanner) {
	for lines.Scan() {
		p.mu.Lock()
		if !strings.HasPrefix(lines.Text(), "hint: ") {
			p.said = strings.TrimPrefix(lines.Text(), "wfnode: ")
		}
		p.mu.Unlock()
	}
}

func (c *crew) tell(ev procEvent) {
	select {
	case c.events <- ev:
	case <-c.quit:
	}
}

// stop ends every process, politely at first, and waits for them.
func (c *crew) stop() {
	c.once.Do(func() {
		close(c.quit)
		for _, p := range c.procs {
			if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
				p.cmd.Process.Kill() // Windows has no polite way
			}
		}
		grace := time.NewTimer(crewGrace)
		defer grace.Stop()
		for _, p := range c.procs {
			select {
			case <-p.gone:
			case <-grace.C:
				grace.Reset(0) // time is up for the others too
				p.cmd.Process.Kill()
			}
		}
		c.readers.Wait()
	})
}

// until takes events until done; no process may end before.
func (c *crew) until(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case ev := <-c.events:
			if ev.ended {
				return fmt.Errorf("%s has ended: %s", ev.proc.name, ev.proc.lastWords())
			}
			ev.proc.note(ev)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// joined waits until p tells how its join went.
func (c *crew) joined(ctx context.Context, p *proc) (*node.JoinStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, crewGrace)
	defer cancel()
	tick := time.NewTicker(lookTime / 20)
	defer tick.Stop()
	for {
		v := c.look(ctx, []place{{name: p.name, console: p.console}})[0]
		if j := v.join; j != nil && j.AnswerMS != nil && j.FirstPacketMS != nil && j.FirstFrameMS != nil {
			return j, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not say how it joined: %w", p.name, ctx.Err())
		}
	}
}

// place is where to look for a node.
type place struct {
	name, peer, console string
	killed              bool
}

// look asks the nodes for their status, a few at a time; a node that does not answer
// has a view without a stream.
func (c *crew) look(ctx context.Context, places []place) []view {
	views := make([]view, len(places))
	slots := make(chan struct{}, lookWidth)
	var all sync.WaitGroup
	for i, p := range places {
		views[i] = view{name: p.name, peer: p.peer, console: p.console, killed: p.killed}
		if p.console == "" {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if st, err := c.status(ctx, p.console); err == nil {
				views[i] = newView(views[i], st)
			}
		})
	}
	all.Wait()
	return views
}

func (c *crew) status(ctx context.Context, console string) (node.Status, error) {
	var st node.Status
	base, err := consoleURL(console)
	if err != nil {
		return st, err
	}
	b, err := getStatus(ctx, c.client, base, "")
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("status from %s: %w", base, err)
	}
	return st, nil
}
