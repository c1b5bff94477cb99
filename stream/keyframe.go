package stream

import "time"

const (
	longGroup   = 4 * time.Second // a newcomer to a longer one is worth a keyframe of its own
	keyAskEvery = time.Second     // requests from all below are one a second on the way up
)

// keyTimes are when a stream's groups begin, and what was asked for. It is arithmetic
// only; History's mutex guards it.
type keyTimes struct {
	at     time.Time     // of the newest key start
	every  time.Duration // from the one before; 0: unknown. The first comes in a burst of history
	count  int
	wanted bool      // by somebody, since
	asked  time.Time // when that was last passed on
}

// came notes a key start.
func (k *keyTimes) came(now time.Time) {
	if k.count > 1 {
		k.every = max(0, now.Sub(k.at))
	}
	k.count++
	k.at, k.wanted = now, false
}

// due says whether to pass the request on now, as one for all who made it.
func (k *keyTimes) due(now time.Time) bool {
	if !k.wanted || !k.asked.IsZero() && now.Sub(k.asked) < keyAskEvery {
		return false
	}
	k.asked = now
	return true
}

// WantKeyframe asks for a key start sooner than it would come.
func (h *History) WantKeyframe() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys.wanted = !h.ended
}

// KeyframeDue reports, at most once a second, that one is wanted and has not come:
// whoever the stream comes from is to be asked.
func (h *History) KeyframeDue(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keys.due(now)
}

// Backlog is what a reader has before it. Zero durations: there is none, nobody knows.
type Backlog struct {
	Bytes int
	Age   time.Duration // of the video group that it begins with
	Next  time.Duration // until the next key start is due
}

// Backlog says what there is to read before the cursor is live.
func (c *Cursor) Backlog(now time.Time) (b Backlog) {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	first, end := c.bounds()
	for i := max(c.pos, first); i < end; i++ {
		if p := c.at(i); p.state != dead && p.Number >= c.from[p.Track] {
			b.Bytes += len(p.Wire)
		}
	}
	if c.group.To > 0 {
		b.Age = max(1, now.Sub(h.keys.at))
	}
	if h.keys.every > 0 {
		b.Next = max(1, h.keys.every-now.Sub(h.keys.at))
	}
	return b
}

// Long reports whether the group is so long that a newcomer is worth a keyframe.
func (b Backlog) Long() bool { return b.Age > 0 && b.Age+b.Next > longGroup }

// Await makes a cursor that has not read yet begin with the next key start, live until then.
func (c *Cursor) Await() {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if c.group.To > 0 {
		c.from[c.group.Track] = c.group.From + 1
		c.await, c.unread = c.await|1<<c.group.Track, true
		c.group = Range{}
	}
}
