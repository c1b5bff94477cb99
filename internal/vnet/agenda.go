package vnet

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// agenda holds the packets on the way, by the tick at which they arrive: a heap of
// ticks rather than of packets, since a tick delivers many.
type agenda struct {
	ticks []int64 // min-heap
	at    map[int64][]packet
}

func (a *agenda) Len() int           { return len(a.ticks) }
func (a *agenda) Less(i, j int) bool { return a.ticks[i] < a.ticks[j] }
func (a *agenda) Swap(i, j int)      { a.ticks[i], a.ticks[j] = a.ticks[j], a.ticks[i] }
func (a *agenda) Push(x any)         { a.ticks = append(a.ticks, x.(int64)) }
func (a *agenda) Pop() any {
	last := len(a.ticks) - 1
	t := a.ticks[last]
	a.ticks = a.ticks[:last]
	return t
}

// add puts p at tick and says whether that is a new earliest tick.
func (a *agenda) add(tick int64, p packet) bool {
	list, known := a.at[tick]
	a.at[tick] = append(list, p)
	if !known {
		heap.Push(a, tick)
	}
	return !known && a.ticks[0] == tick
}

// due takes out the earliest packets if their tick has come. They are ordered by sender:
// in the order of sending, what arrives together would depend on the goroutines' whims.
func (a *agenda) due(now int64) []packet {
	if len(a.ticks) == 0 || a.ticks[0] > now {
		return nil
	}
	tick := heap.Pop(a).(int64)
	list := a.at[tick]
	delete(a.at, tick)
	slices.SortStableFunc(list, func(p, q packet) int {
		return cmp.Or(p.from.Compare(q.from), p.to.Compare(q.to))
	})
	return list
}

// schedule plans p's arrival at the first tick not before at, and at least one tick from
// now: were it less, two hosts could talk forever in no time. The caller holds n.mu.
func (n *Network) schedule(at time.Time, p packet) {
	tick := int64((at.Sub(n.start) + n.quantum - 1) / n.quantum)
	tick = max(tick, int64(time.Since(n.start)/n.quantum)+1)
	if n.agenda.add(tick, p) {
		select {
		case n.wake <- struct{}{}:
		default: // it is about to look already
		}
	}
}

// run delivers packets when they are due, until Close.
func (n *Network) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		n.mu.Lock()
		now := time.Now()
		for {
			list := n.agenda.due(int64(now.Sub(n.start) / n.quantum))
			if list == nil {
				break
			}
			for _, p := range list {
				n.arrive(now, p)
			}
		}
		wait := time.Hour
		if len(n.agenda.ticks) > 0 {
			wait = n.start.Add(time.Duration(n.agenda.ticks[0]) * n.quantum).Sub(now)
		}
		n.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-n.wake:
		case <-n.quit:
			return
		}
	}
}
