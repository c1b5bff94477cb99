// Command simtree prints what a simulated tree does:
//
//	go run ./tree/treesim/simtree -nodes 10000
//	go run ./tree/treesim/simtree -nodes 10000 -kill 0.1
//	go run ./tree/treesim/simtree -nodes 10000 -kill 0.1 -polite
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/watergy/waterfall/tree/treesim"
)

func main() {
	var cfg treesim.Config
	flag.IntVar(&cfg.Nodes, "nodes", 10_000, "nodes, the speaker included")
	flag.IntVar(&cfg.Slots, "slots", 4, "children of a node")
	flag.Uint64Var(&cfg.Seed, "seed", 1, "seed of the run")
	flag.DurationVar(&cfg.Spread, "spread", time.Minute, "time over which joiners come")
	flag.Float64Var(&cfg.Crowd, "crowd", 0.3, "share of joiners that come half-way, at once or -within a time")
	flag.DurationVar(&cfg.Within, "within", 0, "time over which those come")
	flag.Float64Var(&cfg.Kill, "kill", 0, "share of the nodes with children that die at once after the last arrival")
	flag.IntVar(&cfg.Layer, "layer", 0, "kill in this layer only, one node at least; 0: anywhere")
	flag.BoolVar(&cfg.Polite, "polite", false, "they leave instead of dying")
	flag.StringVar((*string)(&cfg.Mix), "mix", "", "of access lines: access or scarce; empty: -slots for everybody")
	flag.DurationVar(&cfg.Stay, "stay", 0, "mean stay; whoever goes is replaced; 0: they stay")
	flag.Float64Var(&cfg.Dying, "dying", 0.3, "share of those that go by dying")
	flag.Float64Var(&cfg.Cut, "cut", 0, "share of the nodes that a partition parts from the speaker")
	flag.DurationVar(&cfg.CutFor, "cutfor", 20*time.Second, "length of the partition")
	flag.Float64Var(&cfg.Liars, "liars", 0, "share of the nodes that take children and deliver nothing")
	flag.DurationVar(&cfg.Strong, "strong", 0, "one more node, with 16 slots, comes at this time; 0: none")
	flag.DurationVar(&cfg.Until, "until", 0, "length of the run; 0: 30 s after the last event")
	flag.BoolVar(&cfg.Wire, "wire", false, "encode and decode every control message")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	debug.SetGCPercent(300) // memory is cheap here, time is not
	cfg.KillAt, cfg.CutAt = cfg.Spread+45*time.Second, cfg.Spread+15*time.Second
	stop, err := profileTo(*profile)
	if err != nil {
		fmt.Fprintln(os.Stderr, "simtree:", err)
		os.Exit(1)
	}
	start := time.Now()
	r, err := treesim.Run(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "simtree:", err)
		os.Exit(1)
	}
	stop()
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	fmt.Printf("attached  %d of %d, depth %d, layers %v\n", r.Attached, r.Alive, r.Depth(), r.Layers)
	fmt.Printf("backups   %d, path delay p50 %v, p99 %v, %d nodes with too many children\n", r.Backed, ms(r.Delay.Quantile(.5)), ms(r.Delay.Quantile(.99)), r.Crowded)
	if len(r.Flash) > 0 {
		fmt.Printf("crowd     %d: p50 %v, p99 %v\n", len(r.Flash), ms(r.Flash.Quantile(.5)), ms(r.Flash.Quantile(.99)))
	}
	fmt.Printf("join      p50 %v, p99 %v, last at %v\n", ms(r.Join.Quantile(.5)), ms(r.Join.Quantile(.99)), ms(r.LastIn))
	if len(r.Orphans)+len(r.Below) > 0 {
		for _, x := range []struct {
			name string
			t    treesim.Times
		}{{"orphans", r.Orphans}, {"below", r.Below}} {
			fmt.Printf("%-9s %d: p50 %v, p99 %v, max %v\n", x.name, len(x.t), ms(x.t.Quantile(.5)), ms(x.t.Quantile(.99)), ms(x.t.Quantile(1)))
		}
	}
	if cfg.Strong > 0 {
		fmt.Printf("strong    in layer 1 after %v (0: never), mean path delay %v, was %v\n", ms(r.StrongIn), ms(r.Delay.Mean()), ms(r.Before))
	}
	fmt.Printf("in time   %.5f%% within 500 ms, %d nodes wait\n", 100*(1-float64(r.Late)/float64(max(r.Watched, 1))), r.Lacking)
	fmt.Printf("invariant loops %d, over budget %d\n", r.Loops, r.Over)
	fmt.Printf("offers    %d, %.3f a join, %d of these refused\n", r.Offers, float64(r.Asks)/float64(max(len(r.Join), 1)), r.Refused)
	fmt.Printf("traffic   %d control messages, %d bytes, %d heads, %d switches, %d strays\n", r.Messages, r.Bytes, r.Heads, r.Switches, r.Strays)
	fmt.Printf("run       %d events, hash %016x, %v\n", r.Events, r.Hash, time.Since(start).Round(time.Millisecond))
	if r.Attached != r.Alive || r.Loops+r.Over > 0 {
		os.Exit(1)
	}
}

// profileTo begins a CPU profile; stop ends it.
func profileTo(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}
