package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/watergy/waterfall/stream/linkbench"
)

// benchParts are what bench measures, in this order.
var benchParts = [...]string{"steps", "forward", "hops", "join", "overload"}

// benchOptions are the flags of bench.
type benchOptions struct {
	counts  []int
	runFor  time.Duration
	hops    int
	joins   int
	only    []string
	profile string
}

func benchCommand() *cobra.Command {
	var (
		o        benchOptions
		children string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what forwarding, sealing, signing and joining cost on this machine",
		Long: `Measure on this machine, with no network but its own:

  steps    what sealing, signing, checking and sending cost a packet
  forward  CPU that a relay takes to pass a stream of 2.5 Mbit/s on to its children
  hops     delay that each of several relay processes adds, one behind the other
  join     how soon a fresh node shows the first frame: bootstrap node, speaker, listener
  overload what comes when children ask for twice what the relay's share of a core can
           send (Linux; only with --only overload, about a minute)

Close other programs: figures of a busy machine are worse, delays most of all.`,
		Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.counts, err = parseCounts(children); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			r, err := runBench(cmd.Context(), o, benchProgress(newOutput(cmd, asJSON)))
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&children, "children", "4,20,100", "how many children the relay serves, run by run")
	f.DurationVar(&o.runFor, "for", 8*time.Second, "how long each run is measured")
	f.IntVar(&o.hops, "hops", 6, "how many relays stand one behind the other")
	f.IntVar(&o.joins, "joins", 5, "how many nodes join, one after the other")
	f.StringSliceVar(&o.only, "only", nil, "only these `PARTS`: "+strings.Join(benchParts[:], ","))
	f.StringVar(&o.profile, "profile", "", "write the CPU profile of the last run's relay to this file")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.AddCommand(benchRelayCommand())
	return cmd
}

func (o *benchOptions) check() error {
	for _, p := range o.only {
		if !slices.Contains(benchParts[:], p) {
			return usagef("--only %q: no such part (hint: %s)", p, strings.Join(benchParts[:], ", "))
		}
	}
	switch {
	case o.runFor <= 0 || o.runFor > 30*time.Second:
		return usagef("--for %v is out of range (hint: 1s to 30s)", o.runFor)
	case o.hops < 1 || o.hops > 50:
		return usagef("--hops %d is out of range (hint: 1 to 50)", o.hops)
	case o.joins < 1 || o.joins > 100:
		return usagef("--joins %d is out of range (hint: 1 to 100)", o.joins)
	}
	return nil
}

// benchRelayCommand is the process that bench measures.
func benchRelayCommand() *cobra.Command {
	var profile string
	cmd := &cobra.Command{
		Use:    "relay",
		Hidden: true,
		Args:   takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return err
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return err
				}
				defer pprof.StopCPUProfile()
			}
			return linkbench.Relay(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "write the relay's CPU profile there")
	return cmd
}

// runBench measures the parts that are wanted; progress is told of each, and how long it
// should take.
func runBench(ctx context.Context, o benchOptions, progress func(what string, takes time.Duration) (done func())) (benchReport, error) {
	var r benchReport
	self, err := os.Executable()
	if err != nil {
		return r, fmt.Errorf("find this program: %w", err)
	}
	relay := func(profile string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, self, "bench", "relay", "--profile", profile)
		cmd.Stderr = os.Stderr
		return cmd
	}
	wanted := func(part string) bool { return len(o.only) == 0 || slices.Contains(o.only, part) }
	if wanted("steps") {
		done := progress("steps", 3*time.Second)
		r.Steps, err = linkbench.Steps()
		if done(); err != nil {
			return r, fmt.Errorf("measure the steps: %w", err)
		}
	}
	for _, n := range o.counts {
		if !wanted("forward") {
			break
		}
		done := progress(fmt.Sprintf("forward to %d children", n), o.runFor+3*time.Second+time.Duration(n)*15*time.Millisecond)
		res, err := linkbench.Run(ctx, linkbench.Config{Children: n, For: o.runFor, Relay: relay(o.profile)})
		if done(); err != nil {
			return r, fmt.Errorf("forward to %d children: %w", n, err)
		}
		r.Forward = append(r.Forward, res)
	}
	if wanted("hops") {
		done := progress(fmt.Sprintf("%d relays one behind the other", o.hops), o.runFor+3*time.Second)
		res, err := linkbench.Chain(ctx, linkbench.ChainConfig{
			Relays: func() *exec.Cmd { return relay("") }, Hops: o.hops, For: o.runFor,
		})
		if done(); err != nil {
			return r, fmt.Errorf("relays one behind the other: %w", err)
		}
		r.Hops = &res
	}
	if slices.Contains(o.only, "overload") {
		done := progress("more than a core can send", time.Minute)
		res, err := benchOverload(ctx, self)
		if done(); err != nil {
			return r, fmt.Errorf("overload: %w", err)
		}
		r.Overload = &res
	}
	if wanted("join") {
		done := progress(fmt.Sprintf("%d nodes join", o.joins), 3*time.Second+time.Duration(o.joins)*time.Second)
		res, err := benchJoin(ctx, o.joins)
		if done(); err != nil {
			return r, fmt.Errorf("join: %w", err)
		}
		r.Join = &res
	}
	return r, nil
}

// benchOverload keeps the relay on one core and leaves it about a fifteenth of that (nice 12
// beside a busy loop), so that a few dozen children are too many and the other core has
// room for all of them.
func benchOverload(ctx context.Context, self string) (linkbench.OverloadResult, error) {
	relay := exec.CommandContext(ctx, "nice", "-n", "12", "taskset", "-c", "0", self, "bench", "relay")
	relay.Stderr = os.Stderr
	return linkbench.Overload(ctx, linkbench.OverloadConfig{
		Relay: relay,
		Busy: func() *exec.Cmd {
			return exec.CommandContext(ctx, "taskset", "-c", "0", "sh", "-c", "while :; do :; done")
		},
	})
}

// benchProgress shows on a terminal what is being measured.
func benchProgress(out *output) func(string, time.Duration) func() {
	errs, ok := out.errs.(*os.File)
	if !ok || out.json || !term.IsTerminal(int(errs.Fd())) {
		return func(string, time.Duration) func() { return func() {} }
	}
	return func(what string, takes time.Duration) func() {
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			tick := time.NewTicker(time.Second / 4)
			defer tick.Stop()
			for start := time.Now(); ; {
				out.progress(bar(time.Since(start), takes) + "  " + what)
				select {
				case <-tick.C:
				case <-stop:
					out.progress("")
					return
				}
			}
		}()
		return func() {
			close(stop)
			<-ended
		}
	}
}

func parseCounts(s string) ([]int, error) {
	var out []int
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || n < 1 || n > 1000 {
			return nil, usagef("--children %q: want numbers from 1 to 1000 (hint: --children 4,20,100)", s)
		}
		out = append(out, n)
	}
	return out, nil
}
