// Command scenario plays what happens to a network of wfnode containers, and says with a
// table and a verdict how it came out. `make scenario NAME=churn` runs it; docker and the
// image waterfall (`make image`) must be there, for nat also root and nft.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// scenario plays something in a lab and returns what went wrong.
type scenario func(ctx context.Context, l *lab, listeners int) error

var scenarios = map[string]scenario{
	"churn": churn, "partition": partition, "nat": nat, "flashcrowd": flashcrowd, "volunteer-dies": volunteerDies,
}

func main() {
	name := flag.String("name", "", strings.Join(slices.Sorted(maps.Keys(scenarios)), ", "))
	listeners := flag.Int("listeners", 20, "how many")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := play(ctx, *name, *listeners); err != nil {
		fmt.Println("verdict: FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("verdict: ok")
}

func play(ctx context.Context, name string, listeners int) (err error) {
	s := scenarios[name]
	if s == nil {
		return fmt.Errorf("there is no scenario %q: %s", name, strings.Join(slices.Sorted(maps.Keys(scenarios)), ", "))
	}
	if listeners < 4 {
		return errors.New("a scenario needs 4 listeners")
	}
	l, err := newLab(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	start := time.Now()
	if err = s(ctx, l, listeners); err == nil {
		err = l.checkLoops(ctx)
	}
	l.table(ctx)
	fmt.Printf("%s took %.0f s\n", name, time.Since(start).Seconds())
	return err
}
