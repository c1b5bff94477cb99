package link

import (
	"encoding/binary"
	"testing"
	"time"
)

// way is a line of some rate with a drop-tail queue, as the estimate sees it.
type way struct {
	rate  float64 // bytes a second; 0: no limit
	queue time.Duration
	loss  int // one packet in so many; 0: none
	delay time.Duration

	free time.Time
	n    int
}

// pass says when a packet sent now arrives.
func (w *way) pass(size int, now time.Time) (time.Time, bool) {
	if w.n++; w.loss > 0 && w.n%w.loss == 0 {
		return now, false
	}
	if w.rate == 0 {
		return now.Add(w.delay), true
	}
	if w.free.Before(now) {
		w.free = now
	}
	if w.free.Sub(now) > w.queue {
		return now, false
	}
	w.free = w.free.Add(time.Duration(float64(size) / w.rate * float64(time.Second)))
	return w.free.Add(w.delay), true
}

// drive sends want bytes a second over w, as far as e allows, and calls look each 10 ms.
func drive(w *way, want float64, d time.Duration, look func(at time.Duration, e *estimate, came float64)) {
	const step, size = 10 * time.Millisecond, 1000
	start := time.Unix(0, 0)
	var (
		e      estimate
		a      arrivals
		seq    uint16
		debt   float64
		came   float64
		pinged time.Time
	)
	for at := time.Duration(0); at < d; at += step {
		now, rate := start.Add(at), want
		if e.rate > 0 {
			rate = min(rate, e.rate)
		}
		for debt += rate * step.Seconds(); debt >= size; debt -= size {
			if at, ok := w.pass(size, now); ok {
				a.came(seq, clockOf(now), size, at)
				came += size
			}
			seq++
		}
		if every := now.Sub(pinged); every >= time.Second || a.urgent && every >= reportEvery {
			pinged = now
			e.report(a.report, clockOf(now), want, 2*w.delay, now)
		}
		look(at, &e, came)
	}
}

func TestEstimate(t *testing.T) {
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		way         way
		want        float64 // bytes a second
		least, most float64 // share of what the way carries that comes in the last 10 s
		queue       time.Duration
		free        bool // no limit at the end
	}{
		"wide":                      {way{delay: 20 * ms}, 300e3, 0.99, 1.01, 0, true},
		"just enough":               {way{rate: 310e3, queue: 100 * ms, delay: 20 * ms}, 300e3, 0.96, 1, 60 * ms, true},
		"half of what is wanted":    {way{rate: 150e3, queue: 300 * ms, delay: 20 * ms}, 300e3, 0.85, 1, 250 * ms, false},
		"a deep buffer":             {way{rate: 150e3, queue: 3 * time.Second, delay: 20 * ms}, 300e3, 0.85, 1, 200 * ms, false},
		"a shallow buffer":          {way{rate: 150e3, queue: 10 * ms, delay: 20 * ms}, 300e3, 0.8, 1, 20 * ms, false},
		"a tenth of it, far away":   {way{rate: 30e3, queue: 300 * ms, delay: 150 * ms}, 300e3, 0.8, 1, 350 * ms, false},
		"one packet in ten is lost": {way{delay: 20 * ms, loss: 10}, 300e3, 0.89, 1, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := tc.way
			carries := tc.want
			if w.rate > 0 {
				carries = min(carries, w.rate)
			}
			var early, late float64
			var longest time.Duration
			var limit float64
			drive(&w, tc.want, 30*time.Second, func(at time.Duration, e *estimate, came float64) {
				if at <= 20*time.Second {
					early = came
				} else {
					longest = max(longest, w.free.Sub(time.Unix(0, 0).Add(at)))
				}
				late, limit = came, e.rate
			})
			share := (late - early) / 10 / carries
			t.Logf("%.3f of it comes, the queue is %v at most, limit %.0f", share, longest, limit)
			if share < tc.least || share > tc.most {
				t.Errorf("%.3f of what can come does, want %.2f to %.2f", share, tc.least, tc.most)
			}
			if longest > tc.queue {
				t.Errorf("the queue is %v long, want at most %v", longest, tc.queue)
			}
			if free := limit == 0; free != tc.free {
				t.Errorf("limit %.0f", limit)
			}
		})
	}
}

// When a thin way gets wide again, all is sent again within 2 s (issue 4, figure 5).
func TestEstimateRecovers(t *testing.T) {
	const want = 300e3
	w := way{rate: 150e3, queue: 300 * time.Millisecond, delay: 20 * time.Millisecond}
	const wide = 20 * time.Second
	var after time.Duration
	drive(&w, want, 40*time.Second, func(at time.Duration, e *estimate, _ float64) {
		switch {
		case at < wide:
		case at == wide:
			w.rate = 0
		case after == 0 && (e.rate == 0 || e.rate >= want):
			after = at - wide
		case after > 0 && e.rate > 0 && e.rate < want:
			t.Fatalf("limited again %v after the way got wide", at-wide)
		}
	})
	t.Logf("all is sent again after %v", after)
	if after == 0 || after > 2500*time.Millisecond {
		t.Errorf("all is sent again after %v", after)
	}
}

// Whatever the other side says, the rate stays a rate.
func FuzzEstimate(f *testing.F) {
	f.Add(ping{clock: 1 << 20, report: report{next: 100, packets: 90, bytes: 90_000, queue: time.Second}}.append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p pacer
		now := time.Unix(0, 0)
		for ; len(b) >= 16; b = b[16:] {
			now = now.Add(time.Duration(binary.BigEndian.Uint16(b)) * time.Millisecond)
			m, err := parseHop(append([]byte{kindPing}, b[:16]...))
			if err != nil {
				t.Fatal(err)
			}
			p.report(m.(ping).report, m.(ping).clock, 300e3, 0, now)
			rate, _ := p.limit()
			if rate != 0 && rate < minRate || rate != rate || rate > 1<<44 {
				t.Fatalf("rate %v", rate)
			}
			if at := p.spend(1000, now); at.Sub(now) > time.Minute {
				t.Fatalf("nothing may be sent for %v", at.Sub(now))
			}
			if n := atOnce(rate, sendAhead); n < 1 || n > sendAhead {
				t.Fatalf("%d at once", n)
			}
		}
	})
}
