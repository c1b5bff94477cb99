package stream

import (
	"slices"
	"time"
)

const (
	maxQueue    = 4096
	maxRoom     = 128 // packets that room is kept for while there are none
	driftWindow = 30 * time.Second
)

// queue puts one track's packets in order for a player.
type queue struct {
	rate  uint32 // of the clock; 0: not in the catalog
	video bool

	started bool
	next    uint64   // the number to be played next, once started
	gap     bool     // something before it was given up
	packets []Packet // by number
	room    []Packet // where packets begins when there are none

	// The playout clock: the least arrival − media time in this window and the one
	// before, so that the drift of two clocks is followed.
	lastTime uint32
	ticks    int64 // media time of the packet last put, unwrapped
	base     time.Time
	best     [2]time.Duration
	bestAt   [2]time.Time // start of the window; zero: no figure
}

// put takes a packet; one that comes after its turn is dropped.
func (q *queue) put(p Packet) {
	if q.started && p.Number < q.next {
		return
	}
	i, dup := slices.BinarySearchFunc(q.packets, p.Number, func(o Packet, n uint64) int {
		switch {
		case o.Number < n:
			return -1
		case o.Number > n:
			return 1
		}
		return 0
	})
	if dup {
		return
	}
	if len(q.packets) == 0 {
		q.packets = q.room
	}
	q.packets = slices.Insert(q.packets, i, p)
	if c := cap(q.packets); c > cap(q.room) && c <= maxRoom {
		q.room = q.packets[:0]
	}
	if len(q.packets) > maxQueue {
		q.packets = slices.Delete(q.packets, 0, 1)
	}
	q.clock(p)
}

// clear drops what is queued.
func (q *queue) clear() {
	clear(q.packets)
	q.packets = q.packets[:0]
}

// toKey drops what lies before the first key start and reports whether there is one.
func (q *queue) toKey() bool {
	if q.started {
		return true
	}
	i := slices.IndexFunc(q.packets, func(p Packet) bool { return p.KeyStart })
	if i < 0 {
		return false
	}
	q.packets = slices.Delete(q.packets, 0, i)
	return true
}

// pop takes the next packet if it is due. Otherwise at says when it may be; zero: not
// before another packet comes.
func (q *queue) pop(now time.Time, cfg PlayerConfig) (p Packet, due, gap bool, at time.Time) {
	if len(q.packets) == 0 {
		return Packet{}, false, false, time.Time{}
	}
	head := q.packets[0]
	if q.started && head.Number != q.next {
		if at = q.holeSince().Add(cfg.HoleWait); at.After(now) {
			return Packet{}, false, false, at
		}
	}
	if cfg.Delay > 0 {
		if at = q.playAt(head).Add(cfg.Delay); at.After(now) {
			return Packet{}, false, false, at
		}
	}
	gap = q.gap || q.started && head.Number != q.next
	q.started, q.next, q.gap = true, head.Number+1, false
	q.packets[0] = Packet{}
	q.packets = q.packets[1:]
	return head, true, gap, time.Time{}
}

// holeSince is when the hole before the first packet was noticed: when the first of
// those behind it came.
func (q *queue) holeSince() time.Time {
	since := q.packets[0].At
	for _, p := range q.packets[1:min(len(q.packets), 32)] {
		if p.At.Before(since) {
			since = p.At
		}
	}
	return since
}

// clock notes how late p came by its own media time.
func (q *queue) clock(p Packet) {
	if q.rate == 0 {
		return
	}
	if q.base.IsZero() {
		q.base, q.lastTime = p.At, p.Time
	}
	q.ticks += int64(int32(p.Time - q.lastTime))
	q.lastTime = p.Time
	late := p.At.Sub(q.base) - q.media(p.Time)
	if q.bestAt[0].IsZero() {
		q.best[0], q.bestAt[0] = late, p.At
	} else if p.At.Sub(q.bestAt[0]) >= driftWindow {
		q.best[1], q.bestAt[1] = q.best[0], q.bestAt[0]
		q.best[0], q.bestAt[0] = late, p.At
	}
	q.best[0] = min(q.best[0], late)
}

// media is the media time of RTP time t since base.
func (q *queue) media(t uint32) time.Duration {
	ticks := q.ticks + int64(int32(t-q.lastTime))
	sec, rest := ticks/int64(q.rate), ticks%int64(q.rate)
	return time.Duration(sec)*time.Second + time.Duration(rest)*time.Second/time.Duration(q.rate)
}

// playAt is when p would be played with no delay added.
func (q *queue) playAt(p Packet) time.Time {
	best := q.best[0]
	if !q.bestAt[1].IsZero() {
		best = min(best, q.best[1])
	}
	if q.bestAt[0].IsZero() {
		return p.At
	}
	return q.base.Add(q.media(p.Time) + best)
}
