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

// repairs decides what of that which a child wants is sent again, and when. It is
// arithmetic only.
type repairs struct {
	pending []repairKey
	recent  map[repairKey]time.Time // when it was last queued: repeated wants do not storm
	rate    meter
	tokens  float64 // bytes that may be spent
	at      time.Time
}

const (
	recentAge = time.Second
	maxRecent = 2048
	minRepeat = 30 * time.Millisecond // the same packet is not sent again sooner, nor within one RTT
)

// want queues the packets of ranges that were sent before.
func (r *repairs) want(ranges []stream.Range, sent stream.Marks, rtt time.Duration, now time.Time) {
	if len(r.recent) > maxRecent {
		for k, at := range r.recent {
			if now.Sub(at) > recentAge {
				delete(r.recent, k)
			}
		}
		if len(r.recent) > maxRecent {
			clear(r.recent)
		}
	}
	budget := maxRepairs
	for _, g := range ranges {
		for n := g.From; n < min(g.To, sent[g.Track]) && budget > 0; n++ {
			k := repairKey{g.Track, n}
			if at, ok := r.recent[k]; ok && now.Sub(at) < max(rtt, minRepeat) {
				continue
			}
			budget--
			r.recent[k] = now
			r.pending = append(r.pending, k)
		}
	}
	r.pending = r.pending[max(0, len(r.pending)-maxRepairs):]
}

func (r *repairs) clear() {
	r.pending = nil
	clear(r.recent)
}

func (r *repairs) peek() (repairKey, bool) {
	if len(r.pending) == 0 {
		return repairKey{}, false
	}
	return r.pending[0], true
}

func (r *repairs) pop() { r.pending = r.pending[1:] }

// allowed says from when on a packet may be sent.
func (r *repairs) allowed(now time.Time) time.Time {
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

func (r *repairs) spend(bytes int) { r.tokens -= float64(bytes) }

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
