package linkbench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/watergy/waterfall/stream/link"
)

// OverloadConfig of a run in which children ask a relay for more than its share of a core
// can send.
type OverloadConfig struct {
	Relay    *exec.Cmd        // the relay process, not started: it must call Relay
	Busy     func() *exec.Cmd // makes a process, not started, that leaves the relay a small share of its core
	Children int              // at most; 0 means 160
	Step     time.Duration    // each count of children is measured for so long; 0 means 4 s
}

// OverloadResult says what became of it. Packets are a second.
type OverloadResult struct {
	Peak         float64 `json:"peak_pps"` // most that came, all children together …
	PeakChildren int     `json:"peak_children"`
	Children     int     `json:"children"` // … and with so many, who
	Asked        float64 `json:"asked_pps"`
	Goodput      float64 `json:"goodput_pps"`
	LateP50      float64 `json:"late_ms_p50"` // two hops
	LateP99      float64 `json:"late_ms_p99"`
	LaterP99     float64 `json:"later_ms_p99"` // as long again afterwards: does it grow?
	Stay         int     `json:"stay"`         // children that stay when the others go …
	Recovery     float64 `json:"recovery_ms"`  // … and get all in time again after this; -1: not within recoverMost
}

const (
	overFirst   = 8                      // children to begin with
	overGrow    = 1.5                    // each time
	overTimes   = 2.0                    // of the peak is asked for in the end
	recoverLook = 250 * time.Millisecond // how often it is looked whether all is in time again
	recoverMost = 10 * time.Second
	inTime      = 200 * time.Millisecond
	enough      = 0.8 // of the packets of a look have to come in it
	calmLooks   = 8   // so many looks without a late packet are a recovery
)

// Overload measures once.
func Overload(ctx context.Context, cfg OverloadConfig) (res OverloadResult, err error) {
	if cfg.Children <= 0 {
		cfg.Children = 160
	}
	if cfg.Step <= 0 {
		cfg.Step = 4 * time.Second
	}
	relay, err := startRelay(cfg.Relay)
	if err != nil {
		return res, err
	}
	l, err := newLoad()
	if err != nil {
		return res, errors.Join(err, relay.stop())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, l.close(), relay.stop())
	}()
	if err := l.connect(ctx, relay, "take", func(first *link.Link) { first.Serve(l.h) }, link.Up); err != nil {
		return res, err
	}
	l.wg.Go(func() { l.speak(ctx) })
	busy := &busyLoop{start: cfg.Busy}
	defer busy.stop()
	if err := l.overload(ctx, cfg, relay, busy, &res); err != nil {
		return res, err
	}
	return res, l.recover(ctx, &res)
}

// busyLoop is the process that leaves the relay little of its core.
type busyLoop struct {
	start func() *exec.Cmd
	cmd   *exec.Cmd // nil: does not run
}

func (b *busyLoop) run() error {
	b.cmd = b.start()
	if err := b.cmd.Start(); err != nil {
		b.cmd = nil
		return fmt.Errorf("keep the core busy: %w", err)
	}
	return nil
}

func (b *busyLoop) stop() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill() // it runs until then
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// overload lets more and more children take the stream until they ask for twice the most
// that has come. While they connect the relay has its core to itself: what connecting costs
// is another measurement.
func (l *load) overload(ctx context.Context, cfg OverloadConfig, relay *relayProcess, busy *busyLoop, res *OverloadResult) error {
	for n := overFirst; ; {
		n = min(n, cfg.Children)
		busy.stop()
		for len(l.children) < n {
			if err := l.joinOne(ctx, relay); err != nil {
				return err
			}
		}
		if err := busy.run(); err != nil {
			return err
		}
		if err := wait(ctx, cfg.Step/2); err != nil {
			return err
		}
		in, came, err := l.step(ctx, cfg.Step)
		if err != nil {
			return err
		}
		res.Children, res.Asked, res.Goodput = n, in*float64(n), came
		if came > res.Peak {
			res.Peak, res.PeakChildren = came, n
		}
		res.LateP50, res.LateP99 = l.latency()
		if res.Asked >= overTimes*res.Peak {
			break
		}
		if n == cfg.Children {
			return fmt.Errorf("%d children ask for %.0f packets a second and get %.0f: no overload (hint: leave the relay less of its core)",
				n, res.Asked, res.Goodput)
		}
		n = max(n+1, min(int(overGrow*float64(n)), int(overTimes*res.Peak/in)+1))
	}
	_, _, err := l.step(ctx, cfg.Step)
	_, res.LaterP99 = l.latency()
	return err
}

// step lets span pass, and says how many packets a second were published, and came to all
// children. latency is of that time.
func (l *load) step(ctx context.Context, span time.Duration) (in, came float64, err error) {
	for _, c := range l.children {
		c.forget()
	}
	start, at0 := time.Now(), l.published()
	n0, _ := l.received()
	if err := wait(ctx, span); err != nil {
		return 0, 0, err
	}
	n1, _ := l.received()
	took := time.Since(start).Seconds()
	return float64(l.published()-at0) / took, float64(n1-n0) / took, nil
}

// published is how many packets there are.
func (l *load) published() (n uint64) {
	for _, s := range l.h.Stats() {
		n += s.Received
	}
	return n
}

// recover lets most children go and says when those that stay have all in time again.
func (l *load) recover(ctx context.Context, res *OverloadResult) error {
	res.Stay, res.Recovery = max(1, res.PeakChildren/2), -1
	for _, c := range l.children[res.Stay:] {
		c.up.Drop(l.h.ID())
	}
	l.children = l.children[:res.Stay]
	gone := time.Now()
	good := gone
	for calm := 0; time.Since(gone) < recoverMost; {
		in, _, err := l.step(ctx, recoverLook)
		if err != nil {
			return err
		}
		calm++
		for _, c := range l.children {
			if !c.allIn(int(enough * in * recoverLook.Seconds())) {
				calm, good = 0, time.Now()
				break
			}
		}
		if calm == calmLooks {
			res.Recovery = float64(good.Sub(gone).Milliseconds())
			break
		}
	}
	return nil
}

// allIn reports whether at least few packets have come since forget, none of them late.
func (c *child) allIn(few int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.late {
		if d > inTime {
			return false
		}
	}
	return len(c.late) >= few
}

// forget begins anew to note how late packets are.
func (c *child) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = c.late[:0]
}
