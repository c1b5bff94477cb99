package treesim

import (
	"time"

	"github.com/watergy/waterfall/tree"
)

type kind uint8

const (
	arrive kind = iota
	wake
	event
	control
	offerTo
	answerTo
	connect
	disconnect
	first
	media
	kill
	depart
	parted
	sever // as disconnect, if the partition lasts
	stray
)

// item is something that will happen.
type item struct {
	kind kind
	node int32 // to whom
	from int32
	link *link
	try  *attempt
	ev   tree.Event
}

// entry is an item's place in the queue.
type entry struct {
	at   time.Duration
	seq  uint64 // order among those at the same time
	slot int32  // of the item
}

// queue is a heap of items by time. Each entry has four below it, and the entries hold
// no pointers: this is where a run spends its time.
type queue struct {
	heap  []entry
	items []item
	free  []int32 // slots
	seq   uint64
}

func (a *entry) before(b *entry) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

func (q *queue) push(at time.Duration, it item) {
	var slot int32
	if n := len(q.free); n > 0 {
		slot = q.free[n-1]
		q.free = q.free[:n-1]
		q.items[slot] = it
	} else {
		slot = int32(len(q.items))
		q.items = append(q.items, it)
	}
	q.seq++
	e := entry{at, q.seq, slot}
	q.heap = append(q.heap, e)
	h, i := q.heap, len(q.heap)-1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (q *queue) pop() (time.Duration, item) {
	h := q.heap
	top, last := h[0], len(h)-1
	e := h[last]
	h = h[:last]
	q.heap = h
	for i := 0; last > 0; {
		c := 4*i + 1
		if c >= last {
			h[i] = e
			break
		}
		end := min(c+4, last)
		for k := c + 1; k < end; k++ {
			if h[k].before(&h[c]) {
				c = k
			}
		}
		if !h[c].before(&e) {
			h[i] = e
			break
		}
		h[i] = h[c]
		i = c
	}
	it := q.items[top.slot]
	q.items[top.slot] = item{}
	q.free = append(q.free, top.slot)
	return top.at, it
}
