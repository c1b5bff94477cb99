package stream

import (
	"slices"
	"time"
)

const (
	lostAfter  = 2 * time.Second // a hole that old is lost (INTERFACE, "lost")
	sweepEvery = 100 * time.Millisecond
	maxAhead   = 1 << 16         // numbers further ahead of the newest are refused …
	idleJump   = 5 * time.Second // … unless the track was silent that long (a laptop that slept)
	maxExpect  = 1 << 12
	maxBefore  = 1 << 12 // how far below the first number seen a reordered start may reach
	startTime  = 2 * time.Second
	maxHoles   = 512
	minSlots   = 1 << 10
	maxSlots   = 1 << 18
)

// track is what a History knows about one track's numbers: which came, where they
// are in the log, which are missing. It is arithmetic only; History's mutex guards it.
type track struct {
	slots       []uint64 // log index + 1 of number n at n & (len-1); 0: has not come
	begun       bool     // first and next mean something
	first, next uint64   // numbers [first, next) are known about
	holes       []hole   // what is missing in there, by number
	started     time.Time
	last        time.Time
	stats       TrackStats

	windowAt    time.Time // bitrate: bytes since then, and the figure of the window before
	windowBytes uint64
	rate        uint64
}

// hole is a run of numbers [from, to) that has not come.
type hole struct {
	from, to uint64
	seen     time.Time // when it was noticed
	asked    bool      // somebody was asked for it
	excused  bool      // the parent misses it, too
	next     time.Time // not to be asked for again before
	wait     time.Duration
}

func newTrack() *track { return &track{slots: make([]uint64, minSlots)} }

func (t *track) slot(n uint64) *uint64 { return &t.slots[n&uint64(len(t.slots)-1)] }

// index is the log index that number n was put at.
func (t *track) index(n uint64) (uint64, bool) {
	if n < t.first || n >= t.next {
		return 0, false
	}
	i := *t.slot(n)
	return i - 1, i != 0
}

// add notes that number n has come and goes to log index at; oldest is the log index of
// the oldest packet still held. It reports whether the packet is new and wanted.
func (t *track) add(n, at, oldest uint64, now time.Time, repaired bool) bool {
	if !t.begun {
		t.begin(n, now)
	}
	switch {
	case n >= t.next:
		if n-t.next > maxAhead {
			if now.Sub(t.last) < idleJump {
				t.stats.Refused++
				return false
			}
			t.restart(n)
		}
		t.advance(n+1, oldest, now)
		t.fill(n)
	case n < t.first:
		if now.Sub(t.started) > startTime || t.first-n > maxBefore || t.next-n > maxSlots/2 {
			t.stats.Duplicates++
			return false
		}
		t.grow(t.next - n)
		t.holes = slices.Insert(t.holes, 0, hole{from: n, to: t.first, seen: now})
		t.first = n
		t.fill(n)
	default:
		if *t.slot(n) != 0 {
			t.stats.Duplicates++
			return false
		}
		repaired = t.fill(n) || repaired
	}
	*t.slot(n) = at + 1
	t.last = now
	t.stats.Received++
	if repaired {
		t.stats.Repaired++
	}
	return true
}

// begin makes n the first number that may be missed.
func (t *track) begin(n uint64, now time.Time) {
	t.begun, t.first, t.next, t.started = true, n, n, now
}

// advance moves next on; what lies between becomes a hole.
func (t *track) advance(next, oldest uint64, now time.Time) {
	span := next - t.next
	if span > uint64(len(t.slots))/2 {
		t.grow(2 * span)
	} else if i := *t.slot(next - 1); i > oldest && next-t.first > uint64(len(t.slots)) {
		t.grow(2 * uint64(len(t.slots))) // its packet is still held: the index must hold it too
	}
	for n := t.next; n < next; n++ {
		*t.slot(n) = 0
	}
	t.holes = append(t.holes, hole{from: t.next, to: next, seen: now})
	t.next = next
	if size := uint64(len(t.slots)); next-t.first > size {
		t.first = next - size
	}
	for len(t.holes) > 0 && (t.holes[0].from < t.first || len(t.holes) > maxHoles) {
		t.stats.Lost += t.holes[0].to - t.holes[0].from
		t.holes = slices.Delete(t.holes, 0, 1)
	}
}

// grow makes the index hold at least size numbers, up to its bound.
func (t *track) grow(size uint64) {
	l := len(t.slots)
	for l < maxSlots && uint64(l) < size {
		l *= 2
	}
	if l == len(t.slots) {
		return
	}
	bigger := make([]uint64, l)
	for n := t.first; n < t.next; n++ {
		bigger[n&uint64(l-1)] = *t.slot(n)
	}
	t.slots = bigger
}

// restart forgets all before n, after a pause so long that nobody can fill it.
func (t *track) restart(n uint64) {
	for _, o := range t.holes {
		t.stats.Lost += o.to - o.from
	}
	t.stats.Lost += n - t.next
	t.holes = t.holes[:0]
	clear(t.slots)
	t.first, t.next = n, n
}

// fill takes n out of the holes and reports whether it had been asked for.
func (t *track) fill(n uint64) bool {
	i, ok := slices.BinarySearchFunc(t.holes, n, func(o hole, n uint64) int {
		switch {
		case o.to <= n:
			return -1
		case o.from > n:
			return 1
		}
		return 0
	})
	if !ok {
		return false
	}
	o := &t.holes[i]
	asked := o.asked
	switch {
	case o.to-o.from == 1:
		t.holes = slices.Delete(t.holes, i, i+1)
	case o.from == n:
		o.from++
	case o.to == n+1:
		o.to--
	default:
		after := *o
		o.to, after.from = n, n+1
		t.holes = slices.Insert(t.holes, i+1, after)
	}
	return asked
}

// expire gives up holes older than lostAfter. Numbers from real on are not known to
// exist: they cannot be lost.
func (t *track) expire(now time.Time, real uint64) {
	t.holes = slices.DeleteFunc(t.holes, func(o hole) bool {
		if now.Sub(o.seen) <= lostAfter || o.from >= real {
			return false
		}
		t.stats.Lost += min(o.to, real) - o.from
		return o.to <= real
	})
	for i := range t.holes {
		if o := &t.holes[i]; now.Sub(o.seen) > lostAfter {
			o.from, o.seen = max(o.from, real), now
		}
	}
}

// remove makes n a number that has not come after all.
func (t *track) remove(n uint64, now time.Time) {
	if n < t.first || n >= t.next {
		return
	}
	*t.slot(n) = 0
	t.stats.Received--
	i, _ := slices.BinarySearchFunc(t.holes, n, func(o hole, n uint64) int {
		if o.to <= n {
			return -1
		}
		return 1
	})
	if i > 0 && t.holes[i-1].to == n && now.Sub(t.holes[i-1].seen) < sweepEvery {
		t.holes[i-1].to = n + 1
		return
	}
	if len(t.holes) < maxHoles {
		t.holes = slices.Insert(t.holes, i, hole{from: n, to: n + 1, seen: now})
	} else {
		t.stats.Lost++
	}
}

// retreat takes back numbers from end on, none of which are held, unless they were heard
// of after since. What never was is not lost.
func (t *track) retreat(end uint64, since time.Time) {
	for i := len(t.holes) - 1; i >= 0 && t.next > end; i-- {
		o := &t.holes[i]
		if o.to != t.next || !o.seen.Before(since) {
			break
		}
		t.next = max(o.from, end)
		if o.from >= end {
			t.holes = t.holes[:i]
		} else {
			o.to = end
		}
	}
	if t.next <= t.first && t.started.Before(since) {
		t.begun = false
		clear(t.slots)
	}
}
