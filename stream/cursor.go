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
	play   bool          // reads what has been checked, in that order
	pos    uint64        // log index, or index of what has been checked, of the next packet to look at
	from   Marks         // numbers below these are not for this cursor
	group  Range         // the video group it begins with: Track and From; To 0: none
	tracks uint16        // a bit for each track that is
	await  uint16        // a bit for each track that goes on at its next key start …
	unread bool          // … before which nothing is missed: it has not begun yet
	ready  chan struct{} // holds a token when there may be more; capacity 1
	// guarded by h.mu
	armed   bool     // in h.waiting
	onReady func()   // nil: a token in ready
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
func (h *History) CursorFrom(resume Marks) *Cursor { return h.cursor(resume, false) }

// Proven returns a reader for players, which begins as CursorAt(nil) does: it gets only
// what the speaker is known to have sent, in the order in which that was found.
func (h *History) Proven() *Cursor { return h.cursor(Marks{}, true) }

func (h *History) cursor(resume Marks, play bool) *Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Cursor{h: h, play: play && h.check != nil, tracks: ^uint16(0), ready: make(chan struct{}, 1)}
	c.resumeAt(resume)
	if _, end := c.bounds(); resume == (Marks{}) || c.pos < end && time.Since(c.at(c.pos).At) > resumeLimit {
		resume = Marks{}
		c.resumeAt(resume)
	}
	if key, _ := c.key(); key.To > 0 && resume[key.Track] == 0 && c.from[key.Track] == key.From {
		c.group = key
	}
	if resume[CatalogTrack] == 0 {
		if p, ok := h.newestCatalog(c.play); ok {
			c.head = append(c.head, p)
			c.from[CatalogTrack] = p.Number + 1
		}
	}
	return c
}

// resumeAt finds the first packet at or after resume, and fills the marks of tracks
// that it does not name. Caller holds h.mu.
func (c *Cursor) resumeAt(resume Marks) {
	h := c.h
	c.from = h.marks()
	if c.play {
		for t := range c.from { // live is what will be proven next
			c.from[t] = min(c.from[t], h.check.signed[t])
		}
	}
	key, _ := c.key()
	if key.To == 0 && h.key.To > 0 { // perhaps the one that will be proven
		c.from[h.key.Track] = min(c.from[h.key.Track], h.key.From)
	}
	if key.To > 0 {
		if _, ok := h.find(key.Track, key.From); ok {
			c.from[key.Track] = key.From
		}
	}
	c.from[ManifestTrack] = h.firstManifest(key)
	for t, n := range resume {
		if n > 0 {
			c.from[t] = n
		}
	}
	first, end := c.bounds()
	for c.pos = first; c.pos < end; c.pos++ {
		if p := c.at(c.pos); p.state != dead && p.Number >= c.from[p.Track] {
			return
		}
	}
}

// firstManifest is the number of the first manifest that a reader needs who begins with
// the newest catalog and the group at key. Caller holds mu.
func (h *History) firstManifest(key Range) uint64 {
	t := h.tracks[ManifestTrack]
	if t == nil {
		return 0
	}
	n := t.next
	if len(t.holes) > 0 { // the one that is missed may be the one
		n = t.holes[0].from
	}
	need := func(p *entry) {
		if p.by > 0 {
			n = min(n, p.by-1)
		}
	}
	if i, ok := h.find(key.Track, key.From); ok && key.To > 0 {
		need(h.at(i))
	}
	if p, ok := h.newestCatalog(false); ok {
		if i, ok := h.find(CatalogTrack, p.Number); ok {
			need(h.at(i))
		}
	}
	return n
}

// bounds are the positions of the first packet and after the last one of what this
// cursor reads. Caller holds h.mu, here and below.
func (c *Cursor) bounds() (first, next uint64) {
	if c.play {
		return c.h.check.first, c.h.check.next
	}
	return c.h.first, c.h.next
}

// at is the entry at position i, which may be an empty one.
func (c *Cursor) at(i uint64) *entry {
	if !c.play {
		return c.h.at(i)
	}
	if i = *c.h.check.at(i); i < c.h.first {
		return &entry{state: dead}
	}
	return c.h.at(i)
}

// key is the newest key start and its position.
func (c *Cursor) key() (Range, uint64) {
	if c.play {
		return c.h.check.keyStart, c.h.check.keyAt
	}
	i, _ := c.h.find(c.h.key.Track, c.h.key.From)
	return c.h.key, i
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

// telling makes the cursor use a channel of another's instead of its own; call it before
// the first read.
func (c *Cursor) telling(ready chan struct{}) *Cursor {
	if ready != nil {
		c.ready = ready
	}
	return c
}

// Poll fills buf with what there is and says how many. When that is none, Ready gets
// a token as soon as there is more. io.EOF after End, when all has been read.
func (c *Cursor) Poll(buf []Packet) (int, error) {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	first, next := c.bounds()
	if c.pos < first {
		c.skip(next)
	}
	n := copy(buf, c.head)
	c.head = c.head[n:]
	var now time.Time
	if h.check != nil && c.pos < next {
		now = time.Now()
	}
	for c.pos < next && n < len(buf) {
		p := c.at(c.pos)
		c.pos++
		if p.state != dead && c.tracks&(1<<p.Track) != 0 && p.Number >= c.from[p.Track] && h.servable(p, now) && !c.awaited(p) {
			buf[n] = p.Packet
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
func (c *Cursor) skip(next uint64) {
	to := next
	if key, at := c.key(); key.To > 0 {
		if _, ok := c.h.find(key.Track, key.From); ok {
			to = max(at, c.pos)
		}
	}
	c.skipped += to - c.pos
	c.pos = to
}

// OnReady has f called, by the goroutine that Releases the history, where Ready would
// get a token otherwise: one wake-up then serves all children. Call it before the first
// read. What comes outside of a Hold still gives a token.
func (c *Cursor) OnReady(f func()) { c.onReady = f }

// Ready gets a token when there may be more to Poll.
func (c *Cursor) Ready() <-chan struct{} { return c.ready }

// Behind is how many packets this cursor has yet to look at.
func (c *Cursor) Behind() int {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	first, next := c.bounds()
	return int(next - max(c.pos, first))
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
