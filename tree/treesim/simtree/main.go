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
	"time"

	"github.com/watergy/waterfall/tree/treesim"
)

func main() {
	var cfg treesim.Config
	flag.IntVar(&cfg.Nodes, "nodes", 10_000, "nodes, the speaker included")
	flag.IntVar(&cfg.Slots, "slots", 4, "children of a node")
	flag.Uint64Var(&cfg.Seed, "seed", 1, "seed of the run")
	flag.DurationVar(&cfg.Spread, "spread", time.Minute, "time over which joiners come")
	flag.Float64Var(&cfg.Crowd, "crowd", 0.3, "share of joiners that come at once, half-way")
	flag.Float64Var(&cfg.Kill, "kill", 0, "share of the nodes with children that die at once after the last arrival")
	flag.IntVar(&cfg.Layer, "layer", 0, "kill in this layer only, one node at least; 0: anywhere")
	flag.BoolVar(&cfg.Polite, "polite", false, "they leave instead of dying")
	flag.StringVar((*string)(&cfg.Mix), "mix", "", "of access lines: access or scarce; empty: -slots for everybody")
	flag.DurationVar(&cfg.Stay, "stay", 0, "mean stay; whoever goes is replaced; 0: they stay")
	flag.Float64Var(&cfg.Dying, "dying", 0.3, "share of those that go by dying")
	flag.Float64Var(&cfg.Cut, "cut", 0, "share of the nodes that a partition parts from the speaker")
	flag.DurationVar(&cfg.CutFor, "cutfor", 20*time.Second, "length of the partition")
	flag.Float64Var(&cfg.Liars, "liars", 0, "share of the nodes that take children and deliver nothing")
	flag.DurationVar(&cfg.Until, "until", 0, "length of the run; 0: 30 s after the last event")
	flag.BoolVar(&cfg.Wire, "wire", false, "encode and decode every control message")
	flag.Parse()
	cfg.KillAt, cfg.CutAt = cfg.Spread+15*time.Second, cfg.Spread+15*time.Second
	start := time.Now()
	r, err := treesim.Run(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "simtree:", err)
		os.Exit(1)
	}
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	fmt.Printf("attached  %d of %d, depth %d, layers %v\n", r.Attached, r.Alive, r.Depth(), r.Layers)
	fmt.Printf("backups   %d, path delay p50 %v, p99 %v, %d nodes with too many children\n", r.Backed, ms(r.Delay.Quantile(.5)), ms(r.Delay.Quantile(.99)), r.Crowded)
	fmt.Printf("join      p50 %v, p99 %v, last at %v\n", ms(r.Join.Quantile(.5)), ms(r.Join.Quantile(.99)), ms(r.LastIn))
	if len(r.Orphans)+len(r.Below) > 0 {
		for _, x := range []struct {
			name string
			t    treesim.Times
		}{{"orphans", r.Orphans}, {"below", r.Below}} {
			fmt.Printf("%-9s %d: p50 %v, p99 %v, max %v\n", x.name, len(x.t), ms(x.t.Quantile(.5)), ms(x.t.Quantile(.99)), ms(x.t.Quantile(1)))
		}
	}
	fmt.Printf("in time   %.5f%% within 500 ms, %d nodes wait\n", 100*(1-float64(r.Late)/float64(max(r.Watched, 1))), r.Lacking)
	fmt.Printf("invariant loops %d, over budget %d\n", r.Loops, r.Over)
	fmt.Printf("traffic   %d control messages, %d bytes, %d offers, %d heads, %d switches\n", r.Messages, r.Bytes, r.Offers, r.Heads, r.Switches)
	fmt.Printf("run       %d events, hash %016x, %v\n", r.Events, r.Hash, time.Since(start).Round(time.Millisecond))
	if r.Attached != r.Alive || r.Loops+r.Over > 0 {
		os.Exit(1)
	}
}
