package stream

import (
	"crypto/ed25519"
	"math"
	"sync"
	"time"
)

// HistoryConfig bounds a History.
type HistoryConfig struct {
	Bytes int // ≤ this many bytes of packets, with what it costs to hold them; 0 means 16 MiB
	// Key is the speaker's: packets are checked against the manifests that it signs, and
	// none is played before. nil: all that is put is trusted, as at the speaker itself.
	Key ed25519.PublicKey
}

const (
	defaultHistory = 16 << 20
	packetCost     = 160 // bytes counted on top of a packet's wire: its entry, index and allocation
	resumeLimit    = 15 * time.Second
	maxRetry       = 80 * time.Millisecond
)

// History is the ring of a stream's packets in order of arrival, indexed by track
// and number. One writer side (Put, from any goroutine), many cursors. It drops
// duplicates, counts loss and wakes cursors. With a key it also knows which packets are
// the speaker's own: those for players are only these; children get every packet at
// once, and check for themselves.
type History struct {
	id     ID
	limit  int
	opened opened // its own lock

	mu      sync.Mutex // guards all below
	log     []entry    // a ring, length a power of two; entry i is at i & (len-1)
	first   uint64     // log index of the oldest packet held
	next    uint64     // log index after the newest
	bytes   int
	tracks  [MaxTracks]*track
	key     Range // Track and From of the newest key start; To 0: none yet
	keys    keyTimes
	waiting []*Cursor
	check   *checker // nil: what is put is trusted
	lending lending
	source  bool                        // a Publisher writes here
	forge   func(Packet) (Packet, bool) // tests
	holds   int                         // callers of Hold: nobody is woken …
	due     [2]uint16                   // … for these tracks yet: those of children, of players
	calls   []*Cursor                   // Release's own
	ended   bool
	alive   time.Time // last sign that those above have the stream
	sweep   time.Time // when holes were last looked at for loss
}

// NewHistory makes an empty History for stream id.
func NewHistory(id ID, cfg HistoryConfig) *History {
	if cfg.Bytes <= 0 {
		cfg.Bytes = defaultHistory
	}
	h := &History{id: id, limit: cfg.Bytes, log: make([]entry, 256), alive: time.Now()}
	if cfg.Key != nil {
		h.check = newChecker(id, cfg.Key)
	}
	return h
}

// ID is the stream's name.
func (h *History) ID() ID { return h.id }

// Put adds p and reports whether it was new. repaired marks packets that came by
// want or resume. Numbers absurdly far from the newest are refused, and so is what is
// known to be forged (Forgeries). A zero p.At means now.
func (h *History) Put(p Packet, repaired bool) bool {
	if p.At.IsZero() {
		p.At = time.Now()
	}
	if p.Track >= MaxTracks || p.Number > MaxNumber {
		return false
	}
	h.mu.Lock()
	if h.forge != nil {
		var ok bool
		if p, ok = h.forge(p); !ok {
			h.alive = p.At
			h.mu.Unlock()
			return false
		}
	}
	c := h.check
	if c != nil && p.Track == ManifestTrack {
		h.mu.Unlock()
		return h.putManifest(p, c, repaired)
	}
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	t, e := h.track(p.Track), entry{Packet: p}
	if c != nil && !h.prove(c, t, &e) || !t.add(p.Number, h.next, h.first, p.At, repaired) {
		h.brought(p)
		return false
	}
	t.count(len(p.Wire), p.At)
	if p.KeyStart && (h.key.To == 0 || h.key.Track != p.Track || h.key.From < p.Number) {
		h.key = Range{p.Track, p.Number, p.Number + 1}
		h.keys.came(p.At)
	}
	h.push(e)
	if c != nil {
		if c.bareAt.IsZero() {
			c.bareAt = p.At
		}
		if e.state == good {
			h.accept(c, h.next-1)
		}
	}
	h.come(p)
	return true
}

// come is what any packet that is new brings about. Caller holds mu.
func (h *History) come(p Packet) {
	if h.alive.Before(p.At) {
		h.alive = p.At
	}
	h.lending.came = p.At
	if p.At.Sub(h.sweep) >= sweepEvery {
		h.expire(p.At)
	}
	h.wake(1<<p.Track, false)
}

// track finds or makes what is known of a track. Caller holds mu.
func (h *History) track(t Track) *track {
	if h.tracks[t] == nil {
		h.tracks[t] = newTrack()
	}
	return h.tracks[t]
}

// push appends e to the ring and makes room for it. Caller holds mu.
func (h *History) push(e entry) {
	if h.next-h.first == uint64(len(h.log)) {
		bigger := make([]entry, 2*len(h.log))
		for i := h.first; i < h.next; i++ {
			bigger[i&uint64(len(bigger)-1)] = *h.at(i)
		}
		h.log = bigger
	}
	*h.at(h.next) = e
	h.next++
	h.bytes += len(e.Wire) + packetCost
	for h.bytes > h.limit && h.first < h.next-1 {
		old := h.at(h.first)
		h.bytes -= len(old.Wire) + packetCost
		if h.check != nil {
			h.check.trim(old)
		}
		*old = entry{}
		h.first++
	}
	if h.check != nil {
		h.check.evict(h.first)
	}
}

// at is the entry of log index i. Caller holds mu.
func (h *History) at(i uint64) *entry { return &h.log[i&uint64(len(h.log)-1)] }

// Hold keeps cursors asleep until Release, so that a burst wakes each of them once.
func (h *History) Hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds++
}

// Release ends a Hold. Cursors that are to be called (OnReady) are called by this
// goroutine.
func (h *History) Release() {
	h.mu.Lock()
	h.holds--
	var calls []*Cursor
	if h.holds == 0 && h.due != [2]uint16{} {
		children, players := h.due[0], h.due[1]
		h.due = [2]uint16{}
		calls, h.calls = append(h.calls[:0], nil)[:0], nil
		calls = h.rouse(children, false, calls)
		calls = h.rouse(players, true, calls)
	}
	h.mu.Unlock()
	if calls == nil {
		return
	}
	for _, c := range calls {
		c.onReady()
	}
	clear(calls)
	h.mu.Lock()
	h.calls = calls
	h.mu.Unlock()
}

// wake lets cursors that wait for one of tracks (a bit each) go on: those of players if
// play is set, else those of children. Caller holds mu.
func (h *History) wake(tracks uint16, play bool) {
	if h.holds == 0 || h.ended {
		h.rouse(tracks, play, nil)
	} else if play {
		h.due[1] |= tracks
	} else {
		h.due[0] |= tracks
	}
}

// rouse wakes them now; those that are to be called are appended to calls instead,
// unless that is nil. Caller holds mu.
func (h *History) rouse(tracks uint16, play bool, calls []*Cursor) []*Cursor {
	still := h.waiting[:0]
	for _, c := range h.waiting {
		if c.tracks&tracks == 0 || c.play != play {
			still = append(still, c)
			continue
		}
		c.armed = false
		if c.onReady != nil && calls != nil {
			calls = append(calls, c)
			continue
		}
		select {
		case c.ready <- struct{}{}:
		default:
		}
	}
	clear(h.waiting[len(still):])
	h.waiting = still
	return calls
}

// expire counts holes that were not filled in time as lost. Caller holds mu.
func (h *History) expire(now time.Time) {
	h.sweep = now
	if h.check != nil {
		h.tidy(h.check, now)
	}
	for n, t := range h.tracks {
		if t == nil {
			continue
		}
		real := uint64(math.MaxUint64)
		if h.check != nil && n != int(ManifestTrack) {
			real = h.check.signed[n]
		}
		t.expire(now, real)
	}
}

// Get finds a packet for repair.
func (h *History) Get(t Track, number uint64) (Packet, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i, ok := h.find(t, number); ok && h.servable(h.at(i), time.Now()) {
		return h.at(i).Packet, true
	}
	return Packet{}, false
}

// servable reports whether children may have a packet: nothing forged, and nothing for
// which no manifest has come in good time. Caller holds mu.
func (h *History) servable(e *entry, now time.Time) bool {
	return e.state == good || e.state == pending && (h.check == nil || now.Sub(e.At) < unproven)
}

// find is the log index of a packet still held. Caller holds mu.
func (h *History) find(t Track, number uint64) (uint64, bool) {
	if t >= MaxTracks || h.tracks[t] == nil {
		return 0, false
	}
	i, ok := h.tracks[t].index(number)
	return i, ok && i >= h.first
}

// Missing lists holes older than age, at most limit ranges, oldest first, none older
// than 2 s (those are lost).
func (h *History) Missing(now time.Time, age time.Duration, limit int) []Range {
	return h.holes(now, age, limit, func(*hole) bool { return true })
}

// Want lists holes older than age that it is time to ask somebody for: again after
// retry at the earliest, then after half as long again each time, up to 80 ms where
// retry is shorter. A packet that comes for a hole listed here counts as repaired.
func (h *History) Want(now time.Time, age, retry time.Duration, limit int) []Range {
	return h.holes(now, age, limit, func(o *hole) bool {
		if o.next.After(now) {
			return false
		}
		o.asked, o.wait = true, max(retry, min(maxRetry, o.wait*3/2))
		o.next = now.Add(o.wait)
		return true
	})
}

func (h *History) holes(now time.Time, age time.Duration, limit int, pick func(*hole) bool) []Range {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(now)
	var out []Range
	for n, t := range h.tracks {
		if t == nil {
			continue
		}
		for i := range t.holes {
			o := &t.holes[i]
			if len(out) == limit {
				return out
			}
			if now.Sub(o.seen) >= age && pick(o) {
				out = append(out, Range{Track(n), o.from, o.to})
			}
		}
	}
	return out
}

// Marks says where this history ends: the next number of each track.
func (h *History) Marks() Marks {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.marks()
}

func (h *History) marks() (m Marks) {
	for n, t := range h.tracks {
		if t != nil {
			m[n] = t.next
		}
	}
	return m
}

// Resume is Marks as a map: the next number per track; empty when it holds nothing.
func (h *History) Resume() map[Track]uint64 {
	out := map[Track]uint64{}
	for t, n := range h.Marks() {
		if n > 0 {
			out[Track(t)] = n
		}
	}
	return out
}

// Expect takes another's word that all numbers below its marks exist: those that are
// not here become holes, so that the end of a burst is repaired as well. Of a track that has
// not begun nothing is missing: what went before is not for this node.
func (h *History) Expect(m Marks, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, t := range h.tracks {
		if t != nil && t.begun && m[n] > t.next && m[n] <= MaxNumber && m[n]-t.next < maxExpect {
			t.advance(m[n], h.first, at)
		}
	}
}

// Begin takes another's word that what it sends of a track of which nothing has come
// begins at number, so that a hole at the very beginning is noticed.
func (h *History) Begin(t Track, number uint64, at time.Time) {
	if t >= MaxTracks || number > MaxNumber {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.track(t); !k.begun {
		k.begin(number, at)
	}
}

// Alive notes a parent's word that it has the stream although no packet came.
func (h *History) Alive(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.alive.Before(now) {
		h.alive = now
	}
}

// Starving is how long nobody above has had anything to give, or nothing that can be
// checked: 0 at the speaker and after the end.
func (h *History) Starving(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.source || h.ended {
		return 0
	}
	d := max(0, now.Sub(h.alive))
	if c := h.check; c != nil && !c.bareAt.IsZero() {
		if bare := now.Sub(c.bareAt); bare >= max(holdingBack, holdingFew*h.proofDue()) {
			d = max(d, bare)
		}
	}
	return d
}

// End closes the history: cursors drain, then report io.EOF.
func (h *History) End() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.wake(^uint16(0), false)
	h.wake(^uint16(0), true)
}

// Ended reports whether End was called.
func (h *History) Ended() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}

// Stats lists the tracks seen, by number.
func (h *History) Stats() []TrackStats {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(now)
	var out []TrackStats
	for n, t := range h.tracks {
		if t == nil || t.stats.Received == 0 && t.stats.Forged == 0 {
			continue
		}
		s := t.stats
		s.Track, s.Next, s.BitrateBPS = Track(n), t.next, t.bitrate(now)
		out = append(out, s)
	}
	return out
}
