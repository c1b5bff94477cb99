package stream

import "time"

// Lag is how long the next packet to read has been here; 0: there is none.
func (c *Cursor) Lag(now time.Time) time.Duration {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	first, next := c.bounds()
	if pos := max(c.pos, first); pos < next {
		return max(0, now.Sub(c.at(pos).At))
	}
	return 0
}

// Skip is for a reader that is too slow: it goes on at the newest key start, if that lies
// ahead and came here after since. Else it goes on live, and gets no video before the next
// key start.
func (c *Cursor) Skip(since time.Time) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if c.skipToKey(since) {
		return
	}
	if key, _ := c.key(); key.To > 0 {
		c.await, c.unread = c.await|1<<key.Track, false
	}
	_, next := c.bounds()
	c.skipTo(next)
}

// SkipToKey goes on at the newest key start, if that lies ahead.
func (c *Cursor) SkipToKey() bool {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	return c.skipToKey(time.Time{})
}

func (c *Cursor) skipToKey(since time.Time) bool {
	key, at := c.key()
	i, held := c.h.find(key.Track, key.From)
	if key.To == 0 || !held || at <= c.pos || c.h.at(i).At.Before(since) {
		return false
	}
	c.skipTo(at)
	return true
}

func (c *Cursor) skipTo(to uint64) {
	first, _ := c.bounds()
	c.pos = max(c.pos, first)
	c.skipped += to - c.pos
	c.pos, c.head = to, nil
}

// awaited reports whether a packet has to be left out because its track goes on at the
// next key start. Caller holds h.mu.
func (c *Cursor) awaited(p *entry) bool {
	if c.await&(1<<p.Track) == 0 {
		return false
	}
	if p.KeyStart {
		c.await, c.unread = c.await&^(1<<p.Track), false
		return false
	}
	if !c.unread {
		c.skipped++
	}
	return true
}
