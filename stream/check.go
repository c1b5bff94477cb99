package stream

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"time"
)

const (
	unproven     = time.Second // a packet that nothing vouches for this long after it came is not served
	maxAheadSign = 1 << 12     // numbers further ahead of the newest signed one are refused
	maxPromises  = 1 << 13     // sums kept of packets that have yet to come
	promiseAge   = 2 * lostAfter
	maxForgeries = 256
	maxTrimmed   = maxAheadSign           // packets that left the log unproven
	holdingBack  = 600 * time.Millisecond // nothing signed for this long …
	holdingFew   = 4                      // … and so many times as long as it should take, while media comes: say so below
)

// Forgery is a packet that is not what the speaker has signed.
type Forgery struct {
	Track  Track
	Number uint64
	Via    uint32 // as in the Packet
	// Proof says that only the node it came from can be to blame: manifests are checked
	// before they are passed on.
	Proof bool
	// Served says that it was passed on before it was known.
	Served bool
	At     time.Time
}

// state is what is known of a packet held.
type state uint8

const (
	pending state = iota // nothing vouches for it yet
	good
	dead // removed
)

// entry is a packet of the log.
type entry struct {
	Packet
	state state
	sum   sum    // while pending
	by    uint64 // 1 + number of the manifest that vouches for it; 0: not known
}

// checker is what a History with a key knows beyond one that trusts. History's mutex
// guards it.
type checker struct {
	key      ed25519.PublicKey
	sums     *summer
	promises map[promised]promise
	trimmed  map[promised]trimmed // nil: none
	signed   Marks                // the number after the last one signed
	proofs   uint64               // manifests taken
	proofAt  time.Time            // the newest of them came
	steadyAt time.Time            // since then they have come without a long pause
	bareAt   time.Time            // the first packet after it came; zero: none

	good     []uint64 // a ring of log indices, in the order in which they were found good
	first    uint64
	next     uint64
	keyStart Range  // as History.key
	keyAt    uint64 // index in good
	catalog  Packet // the newest; Wire nil: none

	forgeries []Forgery // the newest maxForgeries
	forged    uint64    // all so far
}

type promised struct {
	track  Track
	number uint64
}

// promise is what a manifest says of a packet that is not here.
type promise struct {
	sum sum
	by  uint64
	at  time.Time
}

// trimmed is a packet that was passed on and left the log before anything vouched for it:
// if it is forged those below are to be told all the same, or they blame us.
type trimmed struct {
	sum sum
	via uint32
	at  time.Time
}

// trim notes an entry that leaves the log.
func (c *checker) trim(e *entry) {
	if e.state != pending || e.Track == ManifestTrack || len(c.trimmed) == maxTrimmed {
		return
	}
	if c.trimmed == nil {
		c.trimmed = map[promised]trimmed{}
	}
	c.trimmed[promised{e.Track, e.Number}] = trimmed{e.sum, e.Via, e.At}
}

// blameTrimmed notes that a packet that has left the log was forged. Caller holds mu.
func (h *History) blameTrimmed(k promised, e trimmed, now time.Time) {
	delete(h.check.trimmed, k)
	h.track(k.track).stats.Forged++
	h.blame(Forgery{Track: k.track, Number: k.number, Via: e.via, Served: true, At: now})
}

func newChecker(id ID, key ed25519.PublicKey) *checker {
	return &checker{
		key: key, sums: newSummer(id), promises: map[promised]promise{}, good: make([]uint64, 256),
	}
}

// putManifest checks a manifest, then takes it and its word.
func (h *History) putManifest(p Packet, c *checker, repaired bool) bool {
	m, err := parseManifest(h.id, p.Wire)
	if err == nil && !h.sameWord(m, p) {
		err = verifyManifest(h.id, c.key, p.Wire) // outside of the lock: it is most of the cost
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	t := h.track(ManifestTrack)
	if err != nil {
		t.stats.Forged++
		h.blame(Forgery{Track: p.Track, Number: p.Number, Via: p.Via, Proof: true, At: p.At})
		return false
	}
	if !t.add(p.Number, h.next, h.first, p.At, repaired) {
		h.brought(p)
		return false
	}
	t.count(len(p.Wire), p.At)
	h.push(entry{Packet: p, state: good})
	c.proofs++
	if p.At.Sub(c.proofAt) > unproven/2 { // what comes first after a pause is old
		c.steadyAt = p.At
	}
	c.proofAt, c.bareAt = p.At, time.Time{}
	for _, r := range m.runs {
		h.vouch(c, r, p)
	}
	h.come(p)
	return true
}

// sameWord reports whether the other copy of a manifest is held, which was checked when
// it came.
func (h *History) sameWord(m manifest, p Packet) bool {
	other := m.number
	if p.Number == m.number {
		other += uint64(m.parts)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.find(ManifestTrack, other)
	return ok && bytes.Equal(h.at(i).Wire[HeaderSize:], p.Wire[HeaderSize:])
}

// vouch takes what manifest p says of a run of numbers: those that are here are good or
// forged, those that are not are expected. Caller holds mu.
func (h *History) vouch(c *checker, r span, p Packet) {
	t := h.track(r.track)
	c.signed[r.track] = max(c.signed[r.track], r.to())
	if t.begun && r.to() > t.next {
		if r.from > t.next && r.from-t.next > maxAheadSign { // we slept
			h.discard(t, r.track)
			t.restart(r.from)
		}
		t.advance(r.to(), h.first, p.At)
	}
	for i := range r.len() {
		n, want := r.from+uint64(i), r.sum(i)
		at, ok := h.find(r.track, n)
		if e, ok := c.trimmed[promised{r.track, n}]; ok {
			if e.sum != want {
				h.blameTrimmed(promised{r.track, n}, e, p.At)
			}
			delete(c.trimmed, promised{r.track, n})
		}
		switch {
		case !ok:
			if len(c.promises) < maxPromises && (!t.begun || n >= t.first) {
				c.promises[promised{r.track, n}] = promise{sum: want, by: p.Number + 1, at: p.At}
			}
		case h.at(at).state != pending:
		case h.at(at).sum == want:
			h.at(at).by = p.Number + 1
			h.accept(c, at)
		default:
			c.promises[promised{r.track, n}] = promise{sum: want, by: p.Number + 1, at: p.At}
			f := Forgery{Track: r.track, Number: n, Via: h.at(at).Via, Served: true, At: p.At}
			t.stats.Forged++
			h.remove(t, at, p.At)
			h.blame(f)
		}
	}
}

// accept makes the packet at log index i one that may be played. Caller holds mu.
func (h *History) accept(c *checker, i uint64) {
	e := h.at(i)
	e.state = good
	if c.next-c.first == uint64(len(c.good)) {
		bigger := make([]uint64, 2*len(c.good))
		for j := c.first; j < c.next; j++ {
			bigger[j&uint64(len(bigger)-1)] = *c.at(j)
		}
		c.good = bigger
	}
	*c.at(c.next) = i
	if e.KeyStart && (c.keyStart.To == 0 || c.keyStart.Track != e.Track || c.keyStart.From < e.Number) {
		c.keyStart, c.keyAt = Range{e.Track, e.Number, e.Number + 1}, c.next
	}
	c.next++
	if e.Track == CatalogTrack && (c.catalog.Wire == nil || c.catalog.Number < e.Number) {
		c.catalog = e.Packet
	}
	h.wake(1<<e.Track, true)
}

func (c *checker) at(i uint64) *uint64 { return &c.good[i&uint64(len(c.good)-1)] }

// evict forgets what has left the log.
func (c *checker) evict(first uint64) {
	for c.first < c.next && *c.at(c.first) < first {
		c.first++
	}
}

// remove makes a packet one that has not come, so that it is asked for again. Caller
// holds mu.
func (h *History) remove(t *track, i uint64, now time.Time) {
	e := h.at(i)
	t.remove(e.Number, now)
	h.bytes -= len(e.Wire)
	key := h.key.To > 0 && h.key.Track == e.Track && h.key.From == e.Number
	*e = entry{Packet: Packet{Header: e.Header, At: e.At}, state: dead}
	if !key {
		return
	}
	h.key = Range{}
	for j := h.next; j > h.first; j-- {
		if o := h.at(j - 1); o.KeyStart && o.state != dead {
			h.key = Range{o.Track, o.Number, o.Number + 1}
			return
		}
	}
}

// discard removes all of a track that nothing vouches for. Caller holds mu.
func (h *History) discard(t *track, number Track) {
	for i := h.first; i < h.next; i++ {
		if e := h.at(i); e.Track == number && e.state == pending {
			h.remove(t, i, e.At)
		}
	}
}

// blame notes a forgery. Caller holds mu.
func (h *History) blame(f Forgery) {
	c := h.check
	if len(c.forgeries) == maxForgeries {
		c.forgeries = slices.Delete(c.forgeries, 0, 1)
	}
	c.forgeries = append(c.forgeries, f)
	c.forged++
	if f.Served {
		h.wake(^uint16(0), false) // children are to be told
	}
}

// Forgeries lists those after the first so many, at most the newest 256, and says how
// many there have been.
func (h *History) Forgeries(after uint64) ([]Forgery, uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.check == nil || after >= h.check.forged {
		return nil, after
	}
	list := h.check.forgeries
	return slices.Clone(list[max(0, len(list)-int(min(h.check.forged-after, maxForgeries))):]), h.check.forged
}

// Proofs counts the manifests taken and says how often one is due; 0: nothing is checked.
func (h *History) Proofs() (n uint64, every time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.check == nil {
		return 0, 0
	}
	return h.check.proofs, h.proofDue()
}

// proofDue is how often a manifest comes while media does. Caller holds mu.
func (h *History) proofDue() time.Duration {
	if h.key.To > 0 {
		return manifestEvery
	}
	return manifestEveryAudio
}

// prove looks at a packet that has just come in the light of what is signed; false means
// that it is not to be taken. Caller holds mu.
func (h *History) prove(c *checker, t *track, e *entry) bool {
	n := e.Number
	limit := c.signed[e.Track]
	if limit == 0 && t.begun {
		limit = t.next
	}
	if limit > 0 && n > limit+maxAheadSign {
		t.stats.Refused++
		return false
	}
	if _, held := t.index(n); held {
		return true // a duplicate, and counted as one
	}
	e.sum = c.sums.sum(e.Wire)
	p, ok := c.promises[promised{e.Track, n}]
	if !ok {
		return true
	}
	if p.sum != e.sum {
		t.stats.Forged++
		h.blame(Forgery{Track: e.Track, Number: n, Via: e.Via, At: e.At})
		return false
	}
	e.state, e.by = good, p.by
	delete(c.promises, promised{e.Track, n})
	return true
}

// tidy drops what was never signed although what came after it is: numbers that do not
// exist. Caller holds mu.
func (h *History) tidy(c *checker, now time.Time) {
	for k, p := range c.promises {
		if now.Sub(p.at) > promiseAge {
			delete(c.promises, k)
		}
	}
	for k, e := range c.trimmed {
		since := e.at
		if since.Before(c.steadyAt) {
			since = c.steadyAt
		}
		switch signed := c.signed[k.track]; {
		case signed > 0 && k.number >= signed && c.proofAt.Sub(since) > unproven:
			h.blameTrimmed(k, e, now)
		case now.Sub(e.at) > promiseAge:
			delete(c.trimmed, k)
		}
	}
	for n, t := range h.tracks {
		if t == nil || !t.begun || n == int(ManifestTrack) || t.next <= c.signed[n] || c.signed[n] == 0 {
			continue
		}
		end := max(c.signed[n], t.first)
		for k := end; k < t.next; k++ {
			i, ok := h.find(Track(n), k)
			if !ok || h.at(i).state != pending {
				continue
			}
			since := h.at(i).At
			if since.Before(c.steadyAt) {
				since = c.steadyAt
			}
			if c.proofAt.Sub(since) > unproven {
				t.stats.Forged++
				f := Forgery{Track: Track(n), Number: k, Via: h.at(i).Via, Served: true, At: now}
				h.remove(t, i, h.at(i).At)
				h.blame(f)
				continue
			}
			end = k + 1
		}
		t.retreat(end, c.proofAt.Add(-unproven))
	}
}

// Forge is for tests: it makes this a forging relay's history, which takes what f makes of
// each packet, or with false keeps it back, and checks nothing. Call it before the first Put.
func (h *History) Forge(f func(Packet) (Packet, bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.check, h.forge = nil, f
}

// signed notes, at the speaker, which packets manifest m covers.
func (h *History) signed(m manifest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range m.runs {
		for n := r.from; n < r.to(); n++ {
			if i, ok := h.find(r.track, n); ok {
				h.at(i).by = m.number + 1
			}
		}
	}
}

// Held is Marks for asking another node to go on from: below the newest numbers, of
// which there may be forged ones, by as much as has not been checked yet.
func (h *History) Held() Marks {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.marks()
	if h.check == nil {
		return m
	}
	for n, t := range h.tracks {
		if t == nil || n == int(ManifestTrack) {
			continue
		}
		if m[n] = min(m[n], h.check.signed[n]); m[n] < t.first {
			m[n] = 0
		}
	}
	return m
}

// Catalog returns the newest catalog that is the speaker's.
func (h *History) Catalog() (Packet, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newestCatalog(true)
}

// newestCatalog is the newest that is proven, and if proof is not asked for, else the
// newest. Caller holds mu.
func (h *History) newestCatalog(proven bool) (Packet, bool) {
	if c := h.check; c != nil && (proven || c.catalog.Wire != nil) {
		return c.catalog, c.catalog.Wire != nil
	}
	if t := h.tracks[CatalogTrack]; t != nil {
		if i, ok := h.find(CatalogTrack, t.next-1); ok {
			return h.at(i).Packet, true
		}
	}
	return Packet{}, false
}
