// Command soak lets a relay pass a stream of 2.5 Mbit/s on to many children for long, and
// says whether its memory grows. The relay is a bare one, or, with -node, a wfnode process
// among others. `make soak` runs both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/watergy/waterfall/stream/linkbench"
)

const (
	roleEnv = "WATERFALL_SOAK"
	settle  = time.Minute // the history's ring is full then, and stays so
	allowed = 0.15        // that what the last looks say may be over the first ones after settle
	looks   = 3           // at each end, of which the least counts: a collection may be under way
	mib     = 1 << 20
)

func main() {
	children := flag.Int("children", 20, "how many")
	long := flag.Duration("for", 10*time.Minute, "how long")
	every := flag.Duration("every", 30*time.Second, "how often to look")
	program := flag.String("node", "", "the wfnode program: a whole node is the relay, and others its children")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := func() error { return run(ctx, *program, *children, *long, *every) }
	if os.Getenv(roleEnv) != "" {
		work = func() error { return linkbench.Relay(context.Background(), os.Stdin, os.Stdout) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program string, children int, long, every time.Duration) error {
	if children < 1 || every <= 0 || long < settle+(2*looks+1)*every {
		return fmt.Errorf("usage: soak [-node WFNODE] [-children N] [-for D] [-every D], D at least %v", settle+(2*looks+1)*every)
	}
	if program != "" {
		return wholeNode(ctx, program, children, long, every)
	}
	return bareRelay(ctx, children, long, every)
}

func bareRelay(ctx context.Context, children int, long, every time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	relay := exec.CommandContext(ctx, self)
	relay.Env = append(os.Environ(), roleEnv+"=relay")
	relay.Stderr = os.Stderr
	var rss, heap []uint64
	fmt.Printf("%8s %10s %10s %12s\n", "after", "RSS MiB", "heap MiB", "forwarded")
	res, err := linkbench.Run(ctx, linkbench.Config{
		Children: children, For: long, Relay: relay, Every: every,
		Look: func(at time.Duration, u linkbench.Usage) {
			fmt.Printf("%8v %10.1f %10.1f %12d\n", at, float64(u.RSS)/mib, float64(u.Heap)/mib, u.Forwarded)
			if at > settle {
				rss, heap = append(rss, u.RSS), append(heap, u.Heap)
			}
		},
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d children, %.0f packets/s each, %d lost, %.1f µs of CPU a packet, p99 %.1f ms late\n",
		res.Children, res.PacketsIn, res.Lost, res.CPUPerPacket, res.LatencyP99)
	if err := errors.Join(grows("RSS", rss), grows("the heap", heap)); err != nil {
		return err
	}
	fmt.Println("memory does not grow after the first minute")
	return nil
}

// grows compares the last looks with the first.
func grows(what string, list []uint64) error {
	if len(list) < 2*looks {
		return fmt.Errorf("%s: %d looks are too few to judge", what, len(list))
	}
	first, last := least(list[:looks]), least(list[len(list)-looks:])
	if float64(last) > (1+allowed)*float64(first) {
		return fmt.Errorf("%s grows: %.1f MiB, then %.1f MiB", what, float64(first)/mib, float64(last)/mib)
	}
	return nil
}

func least(list []uint64) uint64 {
	n := list[0]
	for _, v := range list {
		n = min(n, v)
	}
	return n
}
