package node

import (
	"context"
	"errors"
	"time"
)

// tick is how often the loop looks at what nothing reports: the catalog of each
// stream, and whether media still progresses.
const tick = time.Second

// idle is how far away a timer with nothing to do is set.
const idle = time.Hour

// ErrClosed is the error of calls on a node that has been closed.
var ErrClosed = errors.New("the node is closed")

// loop runs everything that touches the node's state, one thing at a time.
func (n *Node) loop() {
	defer close(n.done)
	timer := time.NewTimer(idle)
	defer timer.Stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		timer.Reset(n.untilDeadline())
		select {
		case f := <-n.inbox:
			f()
		case ev := <-n.links.Events():
			n.linkEvent(ev)
		case <-timer.C:
			n.passDeadlines()
		case <-ticker.C:
			n.lookAround()
		case <-n.ctx.Done():
			return
		}
	}
}

// untilDeadline is the time to the first deadline of any tree.
func (n *Node) untilDeadline() time.Duration {
	var first time.Time
	for _, s := range n.streams {
		for _, d := range [...]time.Time{s.tree.Deadline(), s.chart.due} {
			if !d.IsZero() && (first.IsZero() || d.Before(first)) {
				first = d
			}
		}
	}
	if first.IsZero() {
		return idle
	}
	return max(0, time.Until(first))
}

func (n *Node) passDeadlines() {
	now := time.Now()
	for _, s := range n.streams {
		if d := s.tree.Deadline(); !d.IsZero() && !d.After(now) {
			s.step(nil)
		}
		if d := s.chart.due; !d.IsZero() && !d.After(now) {
			s.passChart(now)
		}
	}
}

// lookAround does the loop's once-a-second work.
func (n *Node) lookAround() {
	now := time.Now()
	n.measure()
	for _, r := range n.rooms {
		r.doubt(now)
		r.cutStrangers(now)
	}
	for _, s := range n.streams {
		s.readCatalog()
		s.rate.add(s.bitrate())
		s.tend(now)
		s.sayVerdict()
		s.passDuty()
		s.tellIdle()
		s.listenWhenSilent(now)
		if s.over(now) {
			s.room.drop(s)
		}
	}
	n.budget(now)
	n.tellUplink(now)
}

// post hands f to the loop and does not wait for it. It is for tasks and pumps, never
// for the loop itself.
func (n *Node) post(f func()) {
	select {
	case n.inbox <- f:
	case <-n.done:
	}
}

// do runs f on the loop and waits; it reports whether f ran.
func (n *Node) do(f func()) bool {
	ran := make(chan struct{})
	n.post(func() { f(); close(ran) })
	select {
	case <-ran:
		return true
	case <-n.done:
		return false
	}
}

// onLoop is do for a function with a result.
func onLoop[T any](n *Node, f func() (T, error)) (v T, err error) {
	if !n.do(func() { v, err = f() }) {
		return v, ErrClosed
	}
	return v, err
}

// task runs slow work beside the loop; the function it returns (nil: none) is run on
// the loop afterwards.
func (n *Node) task(work func(ctx context.Context) func()) {
	n.tasks.Add(1)
	go func() {
		defer n.tasks.Done()
		if then := work(n.ctx); then != nil {
			n.post(then)
		}
	}()
}
