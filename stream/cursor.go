package stream

import (
	"context"
	"io"
	"slices"
	"time"
)

// Cursor reads a History at its own pace. One goroutine uses it.
type Cursor struct {
	h      *History
	pos    uint64        // log index of the next packet to look at
	from   Marks         // numbers below these are not for this cursor
	group  Range         // the video group it begins with: Track and From; To 0: none
	tracks uint16        // a bit for each track that is
	ready  chan struct{} // holds a token when there may be more; capacity 1
	// guarded by h.mu
	armed   bool     // in h.waiting
	head    []Packet // goes first
	skipped uint64
}

// CursorAt returns a reader that begins after what resume says is held: it gets every
// packet from those numbers on that is still in the ring. A track that resume does not
// name, or all of them when it is empty or too old (15 s), begins at the newest
// catalog and the last video group; audio begins live.
func (h *History) CursorAt(resume map[Track]uint64) *Cursor {
	var m Marks
	for t, n := range resume {
		if t < MaxTracks {
			m[t] = n
		}
	}
	return h.CursorFrom(m)
}

// CursorFrom is CursorAt for marks.
func (h *History) CursorFrom(resume Marks) *Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Cursor{h: h, pos: h.next, tracks: ^uint16(0), ready: make(chan struct{}, 1)}
	c.pos, c.from = h.resumeAt(resume)
	if resume == (Marks{}) || c.pos < h.next && time.Since(h.at(c.pos).At) > resumeLimit {
		resume = Marks{}
		c.pos, c.from = h.resumeAt(resume)
	}
	if h.key.To > 0 && resume[h.key.Track] == 0 && c.from[h.key.Track] == h.key.From {
		c.group = h.key
	}
	if resume[CatalogTrack] == 0 {
		if t := h.tracks[CatalogTrack]; t != nil {
			if i, ok := h.find(CatalogTrack, t.next-1); ok {
				c.head = append(c.head, *h.at(i))
			}
		}
	}
	return c
}

// resumeAt finds the first packet at or after resume, and fills the marks of tracks
// that it does not name. Caller holds mu.
func (h *History) resumeAt(resume Marks) (uint64, Marks) {
	from := h.marks()
	if h.key.To > 0 {
		if _, ok := h.find(h.key.Track, h.key.From); ok {
			from[h.key.Track] = h.key.From
		}
	}
	for t, n := range resume {
		if n > 0 {
			from[t] = n
		}
	}
	for i := h.first; i < h.next; i++ {
		if p := h.at(i); p.Number >= from[p.Track] {
			return i, from
		}
	}
	return h.next, from
}

// Group is the key start that a cursor with nothing to resume begins with.
func (c *Cursor) Group() (t Track, number uint64, ok bool) {
	return c.group.Track, c.group.From, c.group.To > 0
}

// only makes the cursor read one track; call it before the first read.
func (c *Cursor) only(t Track) *Cursor {
	c.tracks = 1 << t
	return c
}

// Poll fills buf with what there is and says how many. When that is none, Ready gets
// a token as soon as there is more. io.EOF after End, when all has been read.
func (c *Cursor) Poll(buf []Packet) (int, error) {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.pos < h.first {
		c.skip()
	}
	n := copy(buf, c.head)
	c.head = c.head[n:]
	for c.pos < h.next && n < len(buf) {
		p := h.at(c.pos)
		c.pos++
		if c.tracks&(1<<p.Track) != 0 && p.Number >= c.from[p.Track] {
			buf[n] = *p
			n++
		}
	}
	switch {
	case n > 0:
		return n, nil
	case h.ended:
		return 0, io.EOF
	case !c.armed:
		c.armed = true
		h.waiting = append(h.waiting, c)
	}
	return 0, nil
}

// skip goes on at the newest key start, or live if none is held. Caller holds h.mu.
func (c *Cursor) skip() {
	h := c.h
	to := h.next
	if h.key.To > 0 {
		if i, ok := h.find(h.key.Track, h.key.From); ok {
			to = i
		}
	}
	c.skipped += to - c.pos
	c.pos = to
}

// Ready gets a token when there may be more to Poll.
func (c *Cursor) Ready() <-chan struct{} { return c.ready }

// Behind is how many packets this cursor has yet to look at.
func (c *Cursor) Behind() int {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	return int(c.h.next - max(c.pos, c.h.first))
}

// Next waits until there is at least one packet, fills buf and says how many. A
// cursor that fell out of the ring goes on at the newest key start; what it missed
// is counted in Skipped. io.EOF after End.
func (c *Cursor) Next(ctx context.Context, buf []Packet) (int, error) {
	for {
		n, err := c.Poll(buf)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			c.Close()
			return 0, ctx.Err()
		}
	}
}

// Skipped counts packets this cursor never got.
func (c *Cursor) Skipped() uint64 {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	return c.skipped
}

// Close makes the history forget a cursor that waits; it may be read again.
func (c *Cursor) Close() {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if c.armed {
		c.armed = false
		c.h.waiting = slices.DeleteFunc(c.h.waiting, func(o *Cursor) bool { return o == c })
	}
}
