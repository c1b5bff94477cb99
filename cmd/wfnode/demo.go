package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// demoConsole is where the speaker's page is, if the port is free.
const demoConsole = "127.0.0.1:7480"

// maxDemo bounds the listeners of a demo: each is a process.
const maxDemo = 200

// demoLook is how often the demo asks every node for its status.
const demoLook = time.Second

func demoCommand() *cobra.Command {
	var (
		nodes  int
		runFor time.Duration
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole network on this machine and show it",
		Long: `Run a bootstrap node, a speaker with the built-in clip and listeners as processes of
their own, all on loopback. Open the console URL that is printed to watch. Ctrl-C, or
the end of --for, stops them all and prints a summary. Kill a listener (kill -9) and
watch the tree heal.`,
		Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 1 || nodes > maxDemo {
				return usagef("--nodes %d is out of range (hint: 1 to %d)", nodes, maxDemo)
			}
			if runFor < 0 {
				return usagef("--for %v is negative (hint: 30s, or 0s to run until Ctrl-C)", runFor)
			}
			return runDemo(cmd, nodes, runFor, asJSON)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 12, "how many listeners")
	cmd.Flags().DurationVar(&runFor, "for", 0, "stop this long after the speaker's start; 0s: at Ctrl-C")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per event on standard output, the summary last")
	return cmd
}

// demo is a running demo; its loop owns everything.
type demo struct {
	crew      *crew
	speaker   *proc
	bootstrap *proc
	listeners []*proc
	out       *output
	screen    *screen
	allLive   time.Duration // since the speaker's start; 0: not yet
}

func runDemo(cmd *cobra.Command, nodes int, runFor time.Duration, asJSON bool) (err error) {
	dir, err := os.MkdirTemp("", "wfnode-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo's nodes: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	crew, err := newCrew(dir)
	if err != nil {
		return err
	}
	defer crew.stop()
	d := &demo{crew: crew, out: newOutput(cmd, asJSON)}
	if !asJSON {
		d.screen = newScreen(cmd.OutOrStdout())
	}
	ctx := cmd.Context()
	if err := d.start(ctx, nodes); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := d.watch(ctx, runFor); err != nil {
		return err
	}
	return d.finish(ctx.Err() != nil)
}

// start runs the bootstrap node, the speaker once that is ready, and all listeners at
// once when there is a ticket.
func (d *demo) start(ctx context.Context, nodes int) error {
	var err error
	if d.bootstrap, err = d.crew.run("bootstrap", "bootstrap"); err != nil {
		return err
	}
	if err := d.until(ctx, func() bool { return d.bootstrap.ready }); err != nil {
		return err
	}
	console := freeConsole()
	d.speaker, err = d.crew.run("speaker", "speak", "--input", "test", "--name", "demo", "--bootstrap", d.bootstrap.address, "--console", console)
	if err != nil {
		return err
	}
	if err := d.until(ctx, func() bool { return d.speaker.ticket != "" }); err != nil {
		return err
	}
	d.out.say("console", d.speaker.console, field{"node", "speaker"})
	d.out.say("ticket", d.speaker.ticket)
	for i := range nodes {
		p, err := d.crew.run(fmt.Sprintf("listener %d", i+1), "join", d.speaker.ticket)
		if err != nil {
			return err
		}
		d.listeners = append(d.listeners, p)
	}
	return nil
}

// until takes events until done.
func (d *demo) until(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case ev := <-d.crew.events:
			if err := d.event(ev); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// event takes note of what a node said. The network does without a listener that has
// ended or that somebody killed, but not without the others.
func (d *demo) event(ev procEvent) error {
	if ev.ended {
		how := strings.TrimSuffix(ev.proc.cmd.ProcessState.String()+": "+ev.proc.lastWords(), ": ")
		if !slices.Contains(d.listeners, ev.proc) {
			return fmt.Errorf("%s has ended: %s", ev.proc.name, how)
		}
		ev.proc.ended, ev.proc.live = true, false
		d.screen.below(func() { d.out.say("gone", ev.proc.name, field{"how", how}) })
		return nil
	}
	ev.proc.note(ev)
	if ev.name == "live" && d.allLive == 0 && d.liveCount() == len(d.listeners) && len(d.listeners) > 0 {
		d.allLive = time.Since(d.speaker.started)
		d.screen.below(func() {
			d.out.say("all_live", fmt.Sprintf("%d listeners, %.1f s after the speaker's start", len(d.listeners), d.allLive.Seconds()),
				field{"ms", d.allLive.Milliseconds()})
		})
	}
	return nil
}

func (d *demo) liveCount() int {
	n := 0
	for _, p := range d.listeners {
		if p.live {
			n++
		}
	}
	return n
}

// watch shows the network until it is to end.
func (d *demo) watch(ctx context.Context, runFor time.Duration) error {
	var over <-chan time.Time
	if runFor > 0 {
		t := time.NewTimer(time.Until(d.speaker.started.Add(runFor)))
		defer t.Stop()
		over = t.C
	}
	look := time.NewTimer(demoLook / 4)
	defer look.Stop()
	looked, looking, bottom := make(chan []view, 1), false, ""
	defer func() {
		if looking {
			<-looked
		}
	}()
	for {
		select {
		case ev := <-d.crew.events:
			if err := d.event(ev); err != nil {
				return err
			}
		case <-look.C:
			looking = true
			go func(places []place) { looked <- d.crew.look(ctx, places) }(d.places())
		case views := <-looked:
			looking = false
			if u := bottomConsole(views); d.allLive > 0 && bottom == "" && u != "" {
				bottom = u
				d.screen.below(func() { d.out.say("console", u, field{"node", "a listener at the bottom"}) })
			}
			d.screen.show(drawTree(views))
			look.Reset(demoLook)
		case <-over:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// places are the nodes that carry the stream, the speaker first.
func (d *demo) places() []place {
	var all []place
	for _, p := range append([]*proc{d.speaker}, d.listeners...) {
		pl := place{name: p.name, peer: p.peer, console: p.console, killed: p.killed()}
		if p.ended {
			pl.console = ""
		}
		all = append(all, pl)
	}
	return all
}

// bottomConsole is the console of a listener in the lowest layer.
func bottomConsole(views []view) string {
	url, deepest := "", 0
	for _, v := range views {
		if v.live && v.layer > deepest {
			url, deepest = v.console, v.layer
		}
	}
	return url
}

// finish prints the summary and says whether the demo has failed.
func (d *demo) finish(interrupted bool) error {
	views := d.crew.look(context.Background(), d.places())
	s := summarize(views, d.allLive)
	d.screen.show(drawTree(views))
	if d.out.json {
		fmt.Fprintln(d.out.w, compact(s))
	} else {
		s.print(d.out.w)
	}
	if s.Live+s.Killed < s.Nodes && !interrupted {
		return fmt.Errorf("%d of %d listeners were live at the end%s", s.Live, s.Nodes, d.complaints(views[1:]))
	}
	return nil
}

// complaints is what is known of the listeners that are not live, each thing once.
func (d *demo) complaints(views []view) string {
	var said []string
	for i, v := range views {
		p := d.listeners[i]
		w := p.lastWords()
		select {
		case <-p.gone:
			w = p.name + " has ended: " + p.cmd.ProcessState.String()
		default:
		}
		if !v.live && !v.killed && w != "" && !slices.Contains(said, w) {
			said = append(said, w)
		}
	}
	if len(said) == 0 {
		return " (hint: a longer --for, or fewer --nodes on a slow machine)"
	}
	return ": " + strings.Join(said, "; ")
}

// freeConsole is demoConsole, or any port if that one is taken.
func freeConsole() string {
	l, err := net.Listen("tcp", demoConsole)
	if err != nil {
		return "127.0.0.1:0"
	}
	l.Close()
	return demoConsole
}

func demoHome(dir, name string) string {
	return filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
}
