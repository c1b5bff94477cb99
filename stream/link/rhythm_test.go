package link

import (
	"testing"
	"time"
)

// play feeds a rhythm packets at the given gaps in turn for d, with checks every tick,
// and returns the time at the end.
func (r *rhythm) play(now time.Time, d time.Duration, gaps ...time.Duration) time.Time {
	end := now.Add(d)
	for i := 0; now.Before(end); i++ {
		next := now.Add(gaps[i%len(gaps)])
		for now = now.Add(takeTick); now.Before(next); now = now.Add(takeTick) {
			r.check(now)
		}
		now = next
		r.heard(now)
	}
	return now
}

func TestPatience(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name     string
		gaps     []time.Duration
		from, to time.Duration
	}{
		{"50 packets a second", []time.Duration{20 * ms}, silentAfter, silentAfter},
		{"frames of four packets", []time.Duration{33 * ms, 0, 0, 0}, silentAfter, silentAfter},
		{"heartbeats only", []time.Duration{50 * ms}, silentAfter, silentAfter},
		{"very uneven", []time.Duration{10 * ms, 90 * ms}, 250 * ms, 350 * ms},
		{"stalls of 300 ms", []time.Duration{20 * ms, 20 * ms, 20 * ms, 300 * ms}, 440 * ms, 600 * ms},
		{"stalls of 3 s", []time.Duration{20 * ms, 3 * time.Second}, silentMost, silentMost},
	} {
		var r rhythm
		now := time.Unix(1000, 0)
		r.check(now)
		now = r.play(now, 20*time.Second, c.gaps...)
		if p := r.patience(); p < c.from || p > c.to {
			t.Errorf("%s: patience %v, want %v to %v", c.name, p, c.from, c.to)
		}
		r.play(now, 12*time.Second, 20*ms)
		if p := r.patience(); p != silentAfter {
			t.Errorf("%s: still %v after 12 s of calm", c.name, p)
		}
	}
}

// A process that stood still for 2 s has heard nothing, but suspects nobody: the first
// check counts as one tick.
func TestOwnStall(t *testing.T) {
	var r rhythm
	now := time.Unix(1000, 0)
	r.check(now)
	now = r.play(now, 5*time.Second, 20*time.Millisecond)
	now = now.Add(2 * time.Second)
	r.check(now)
	if r.quiet >= silentAfter {
		t.Errorf("quiet for %v after a stall of our own", r.quiet)
	}
	r.heard(now)
	if p := r.patience(); p != silentAfter {
		t.Errorf("the stall raised patience to %v", p)
	}
	for range 4 {
		now = now.Add(takeTick)
		r.check(now)
	}
	if r.quiet < r.patience() {
		t.Errorf("a true silence of 200 ms counts as %v", r.quiet)
	}
}

// The way to a parent is no gap.
func TestSlowStart(t *testing.T) {
	var r rhythm
	now := time.Unix(1000, 0)
	for range 20 {
		r.check(now)
		now = now.Add(takeTick)
	}
	r.heard(now)
	if p := r.patience(); p != silentAfter {
		t.Errorf("patience %v", p)
	}
}
