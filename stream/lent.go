package stream

import (
	"slices"
	"time"
)

const (
	stuckAfter   = 250 * time.Millisecond // a hole that old is asked for elsewhere, too: the parent was asked more than once
	stillAfter   = 600 * time.Millisecond // nothing has come for so long, though the parent lives: perhaps others have more
	stillAsk     = 16                     // numbers of each track that are asked for then
	excusedStuck = time.Second            // … or so old, if the parent says that it misses it, too
	lackRest     = time.Second            // before the parent is asked again for what it lacks
	stuckAgain   = 200 * time.Millisecond
	excuseTime   = 400 * time.Millisecond // for the parent to bring what others have lent: it may have been without it
	withheldFew  = 12                     // packets that it did not bring …
	withheldTime = 10 * time.Second       // … in this time …
	withheldSpan = time.Second            // … and not all at once: a line may fail for a moment
	excusedFew   = 36                     // the same for those that it says it misses:
	excusedSpan  = 3 * time.Second        // an honest relay leaves a parent that keeps back much sooner
	maxLent      = 1 << 10
)

// lending is what a History knows of packets that the parent kept back and others had.
// History's mutex guards it.
type lending struct {
	who  any       // the lender
	call func()    // asks him to look at Stuck; nil: there is none
	at   time.Time // he is not called again before
	came time.Time // the newest packet, from whomever
	lent map[promised]loan
	kept [2][]time.Time // when those were lent that the parent never brought: without excuse, and with
}

type loan struct {
	at      time.Time
	via     uint32
	excused bool
}

// Lender makes who the one to call when something is missing that the parent does not
// fill in, at most every 200 ms; he is to look at Stuck, and call Lend with what he gets.
func (h *History) Lender(who any, call func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lending.who, h.lending.call = who, call
}

// NoLender ends that, if who is still the one.
func (h *History) NoLender(who any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lending.who == who {
		h.lending.who, h.lending.call = nil, nil
	}
}

// CallLender calls him if something is stuck and it is time.
func (h *History) CallLender(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := &h.lending; l.call != nil && !now.Before(l.at) && h.check != nil && len(h.stuck(now, 1)) > 0 {
		l.at = now.Add(stuckAgain)
		l.call()
	}
}

// Stuck lists what a parent has had time enough to bring: holes older than 250 ms, and
// what comes next if nothing has come for 600 ms.
func (h *History) Stuck(now time.Time, limit int) []Range {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stuck(now, limit)
}

// stuck is Stuck. Caller holds mu.
func (h *History) stuck(now time.Time, limit int) (list []Range) {
	still := !h.lending.came.IsZero() && now.Sub(h.lending.came) >= stillAfter && !h.ended
	for n, t := range h.tracks {
		if t == nil {
			continue
		}
		for _, o := range t.holes {
			age := stuckAfter
			if o.excused {
				age = excusedStuck
			}
			if now.Sub(o.seen) >= age && len(list) < limit {
				list = append(list, Range{Track(n), o.from, o.to})
			}
		}
		if still && t.begun && len(list) < limit {
			list = append(list, Range{Track(n), t.next, t.next + stillAsk})
		}
	}
	return list
}

// Lend is Put of what another than the parent has sent because it was stuck here.
func (h *History) Lend(p Packet) bool {
	excused := h.excused(p)
	if !h.Put(p, true) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &h.lending
	if l.lent == nil {
		l.lent = map[promised]loan{}
	}
	if len(l.lent) < maxLent {
		l.lent[promised{p.Track, p.Number}] = loan{p.At, p.Via, excused}
	}
	return true
}

// Excuse takes the parent's word that it misses packets, too, or has left them out. It is not
// asked for them again for a while: what it gets after all it passes on unasked.
func (h *History) Excuse(rs []Range, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range rs {
		if r.Track >= MaxTracks || h.tracks[r.Track] == nil {
			continue
		}
		for i := range h.tracks[r.Track].holes {
			if o := &h.tracks[r.Track].holes[i]; o.from < r.To && r.From < o.to {
				o.excused, o.next = true, now.Add(lackRest)
			}
		}
	}
}

// AskAgain ends the rest that Excuse gives: what the parent lacked it may have sent since, and
// the hop lost it; or there is another parent.
func (h *History) AskAgain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tracks {
		if t == nil {
			continue
		}
		for i := range t.holes {
			if o := &t.holes[i]; o.excused {
				o.next = time.Time{}
			}
		}
	}
}

// excused says whether the parent says that it misses p.
func (h *History) excused(p Packet) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.Track >= MaxTracks || h.tracks[p.Track] == nil {
		return false
	}
	return slices.ContainsFunc(h.tracks[p.Track].holes, func(o hole) bool {
		return o.from <= p.Number && p.Number < o.to && o.excused
	})
}

// brought excuses the parent for a packet that it brings after all. Caller holds mu.
func (h *History) brought(p Packet) {
	k := promised{p.Track, p.Number}
	if l, ok := h.lending.lent[k]; ok && l.via != p.Via {
		delete(h.lending.lent, k)
	}
}

// Withheld reports whether the parent keeps back what others have: at least 12 packets of
// the last 10 s that are the speaker's own and that it has not brought 400 ms after they
// were lent.
func (h *History) Withheld(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &h.lending
	for k, o := range l.lent {
		if now.Sub(o.at) < excuseTime {
			continue
		}
		delete(l.lent, k)
		if i, ok := h.find(k.track, k.number); ok && h.at(i).state == good {
			which := &l.kept[0]
			if o.excused {
				which = &l.kept[1]
			}
			*which = append(*which, o.at)
		}
	}
	return many(&l.kept[0], withheldFew, withheldSpan, now) || many(&l.kept[1], excusedFew, excusedSpan, now)
}

// many forgets what is old and says whether a few are left, and not of one moment.
func many(times *[]time.Time, few int, span time.Duration, now time.Time) bool {
	list := *times
	for len(list) > 0 && (now.Sub(list[0]) > withheldTime || len(list) > maxLent) {
		list = list[1:]
	}
	*times = list
	return len(list) >= few && list[len(list)-1].Sub(list[0]).Abs() >= span
}

// Retake begins with a new parent, who is not to blame for what was.
func (h *History) Retake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.lending.lent)
	h.lending.kept = [2][]time.Time{}
}

// Newest is when the newest packet came, from whomever; zero: none has.
func (h *History) Newest() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lending.came
}

// Rate is that of all that comes, in bytes a second.
func (h *History) Rate(now time.Time) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var bits uint64
	for _, t := range h.tracks {
		if t != nil && t.stats.Received > 0 {
			bits += t.bitrate(now)
		}
	}
	return float64(bits) / 8
}

// Vouched finds a packet to be lent to another: one that is known to be the speaker's.
func (h *History) Vouched(t Track, number uint64) (Packet, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i, ok := h.find(t, number); ok && (h.check == nil || h.at(i).state == good) {
		return h.at(i).Packet, true
	}
	return Packet{}, false
}
