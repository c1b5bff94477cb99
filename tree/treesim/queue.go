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
)

// item is something that will happen.
type item struct {
	at   time.Duration
	seq  uint64 // order among those at the same time
	kind kind
	node int32 // to whom
	from int32
	link *link
	try  *attempt
	ev   tree.Event
}

// queue is a binary heap of items by time.
type queue struct {
	items []item
	seq   uint64
}

func (a *item) before(b *item) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

func (q *queue) push(it item) {
	q.seq++
	it.seq = q.seq
	q.items = append(q.items, it)
	h, i := q.items, len(q.items)-1
	for i > 0 {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (q *queue) pop() item {
	h := q.items
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = item{}
	h = h[:last]
	q.items = h
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			break
		}
		if c+1 < last && h[c+1].before(&h[c]) {
			c++
		}
		if !h[c].before(&h[i]) {
			break
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
	return top
}
