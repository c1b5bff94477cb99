package stream

import "time"

// TrackStats counts what has passed since the start.
type TrackStats struct {
	Track      Track
	Next       uint64 // the number after the newest
	Received   uint64 // distinct numbers
	Lost       uint64 // never came within 2 s
	Repaired   uint64
	Duplicates uint64
	Refused    uint64 // absurdly far ahead
	Forged     uint64 // not what the speaker has signed
	Bytes      uint64
	BitrateBPS uint64 // over the last two seconds or so
}

const rateWindow = 2 * time.Second

// count adds a packet of size bytes to the figures.
func (t *track) count(size int, now time.Time) {
	t.stats.Bytes += uint64(size)
	if t.windowAt.IsZero() {
		t.windowAt = now
	}
	if d := now.Sub(t.windowAt); d >= rateWindow {
		t.rate = perSecond(t.windowBytes, d)
		t.windowAt, t.windowBytes = now, 0
	}
	t.windowBytes += uint64(size)
}

// bitrate is that of the last whole window, or of what there is of the first.
func (t *track) bitrate(now time.Time) uint64 {
	d := now.Sub(t.windowAt)
	if t.rate == 0 || d >= rateWindow {
		return perSecond(t.windowBytes, max(d, rateWindow/10))
	}
	return t.rate
}

// Bitrate is what all tracks take, in bits a second.
func (h *History) Bitrate(now time.Time) (bps uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tracks {
		if t != nil && t.stats.Received > 0 {
			bps += t.bitrate(now)
		}
	}
	return bps
}

func perSecond(bytes uint64, d time.Duration) uint64 {
	return uint64(float64(bytes) * 8 / d.Seconds())
}
