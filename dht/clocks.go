package dht

import (
	"slices"
	"sync"
	"time"
)

// maxClocks is of how many others' clocks is remembered how far they are off ours.
const maxClocks = 32

// clocks remembers by how much the clocks of members that were heard differ from ours: a
// record's seq is its writer's time. Records are up to 30 s old when they come by the DHT.
type clocks struct {
	mu    sync.Mutex
	ahead map[pubKey]time.Duration // of ours
}

// heard notes a record that has just come, of a member.
func (c *clocks) heard(r *record, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead == nil {
		c.ahead = map[pubKey]time.Duration{}
	}
	if _, known := c.ahead[r.writer]; !known && len(c.ahead) == maxClocks {
		for k := range c.ahead {
			delete(c.ahead, k)
			break
		}
	}
	c.ahead[r.writer] = time.UnixMilli(int64(r.seq)).Sub(now)
}

// ClockOff is by how much this machine's clock is ahead of those of the speakers and
// joiners that were heard (the median), and of how many. Less than a minute means nothing.
func (h *Host) ClockOff() (ahead time.Duration, of int) {
	h.clocks.mu.Lock()
	defer h.clocks.mu.Unlock()
	var all []time.Duration
	for _, d := range h.clocks.ahead {
		all = append(all, -d)
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], len(all)
}
