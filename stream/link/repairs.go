package link

import (
	"time"

	"github.com/watergy/waterfall/stream"
)

// repairKey names a packet of a stream.
type repairKey struct {
	track  stream.Track
	number uint64
}

// repairs decides what of that which a child wants is sent again, and when. A packet waits
// in it once, however often it is wanted: else what is sent twice would use up the share, more
// would wait, and be wanted again. It is arithmetic only.
type repairs struct {
	pending []repairKey
	wanted  map[repairKey]time.Time // of those pending: since when
	left    map[repairKey]time.Time // when one was pending last: repeated wants do not storm
	rate    meter
	tokens  float64 // bytes that may be spent
	at      time.Time
	next    time.Time // no packet before: what is missed at once does not go at once
}

const (
	repairSpread = 64_000 // bytes a second that repairs leave with at least; else as fast as live
	wantAge      = 500 * time.Millisecond
	leftAge      = time.Second
	maxLeft      = 2048
	minRepeat    = 30 * time.Millisecond // the same packet is not sent again sooner, nor within one RTT
)

func newRepairs() repairs {
	return repairs{wanted: map[repairKey]time.Time{}, left: map[repairKey]time.Time{}}
}

// want queues the packets of ranges that were sent before; floor and what is below it was
// not sent.
func (r *repairs) want(ranges []stream.Range, floor, sent stream.Marks, rtt time.Duration, now time.Time) {
	r.forget(now)
	budget := maxRepairs
	for _, g := range ranges {
		for n := max(g.From, floor[g.Track]); n < min(g.To, sent[g.Track]) && budget > 0; n++ {
			k := repairKey{g.Track, n}
			if _, waits := r.wanted[k]; waits {
				continue
			}
			if at, ok := r.left[k]; ok && now.Sub(at) < max(rtt, minRepeat) {
				continue
			}
			budget--
			r.wanted[k] = now
			r.pending = append(r.pending, k)
		}
	}
	for len(r.pending) > maxRepairs {
		r.drop()
	}
}

// forget keeps left small.
func (r *repairs) forget(now time.Time) {
	if len(r.left) <= maxLeft {
		return
	}
	for k, at := range r.left {
		if now.Sub(at) > leftAge {
			delete(r.left, k)
		}
	}
	if len(r.left) > maxLeft {
		clear(r.left)
	}
}

func (r *repairs) clear() {
	r.pending = nil
	clear(r.wanted)
	clear(r.left)
}

// peek is what is next. What has waited for too long is dropped: it is wanted again, or has
// come from elsewhere.
func (r *repairs) peek(now time.Time) (repairKey, bool) {
	for len(r.pending) > 0 && now.Sub(r.wanted[r.pending[0]]) > wantAge {
		r.drop()
	}
	if len(r.pending) == 0 {
		return repairKey{}, false
	}
	return r.pending[0], true
}

// pop takes out what is next, because it is sent now.
func (r *repairs) pop(now time.Time) {
	r.left[r.pending[0]] = now
	r.drop()
}

func (r *repairs) drop() {
	delete(r.wanted, r.pending[0])
	r.pending = r.pending[1:]
}

// allowed says from when on a packet may be sent.
func (r *repairs) allowed(now time.Time) time.Time {
	if r.next.After(now) {
		return r.next
	}
	perSecond := max(repairFloor, r.rate.perSecond/repairShare)
	if r.at.IsZero() {
		r.tokens = repairBurst
	} else {
		r.tokens = min(repairBurst, r.tokens+perSecond*now.Sub(r.at).Seconds())
	}
	r.at = now
	if r.tokens > 0 {
		return now
	}
	return now.Add(time.Duration((1-r.tokens)/perSecond*float64(time.Second)) + time.Millisecond)
}

// spend notes a packet that leaves; live is what the stream takes a second.
func (r *repairs) spend(bytes int, live float64, now time.Time) {
	r.tokens -= float64(bytes)
	r.next = now.Add(time.Duration(float64(bytes) / max(repairSpread, live) * float64(time.Second)))
}

// meter is a rate over about a second.
type meter struct {
	perSecond float64
	bytes     uint64
	at        time.Time
}

func (m *meter) add(bytes uint64, now time.Time) {
	if m.at.IsZero() {
		m.at = now
	}
	m.bytes += bytes
	if d := now.Sub(m.at); d >= time.Second/2 {
		m.perSecond = (m.perSecond + float64(m.bytes)/d.Seconds()) / 2
		m.bytes, m.at = 0, now
	}
}
