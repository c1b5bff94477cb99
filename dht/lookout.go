package dht

import (
	"context"
	"time"
)

const (
	roomLook    = 5 * time.Minute        // a newer record is looked for
	roomLookDHT = 3 * time.Second        // without gossip, by those who hear offers
	noticeLooks = 6                      // lookups after a notice: the record may be on its way
	noticeLeast = 500 * time.Millisecond // between two lookups, and two notices

	tellAgain = time.Minute // a record that was delivered and did not open: a card may ask its owner each time

	doubtLeast = time.Second      // between two lookups in doubt, and until the first
	doubtSpan  = 30 * time.Second // after a sign that our record is old; QUIC knows by then that a peer is gone
)

// doubtPause is until the next lookup of a node that has been in doubt for d: half as long
// again after each, so 1, 2, 3, 4, 5.3, 7.1, … s from the first sign.
func doubtPause(d time.Duration) time.Duration {
	return jitter(min(max(d/3, doubtLeast), roomLook))
}

// Behind tells that the room seems to have a newer record than ours: it is looked for
// within seconds.
func (p *Presence) Behind() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.doubted) >= doubtSpan {
		p.doubted = now
	}
	notify(p.doubtKick)
}

// back tells that this node may have been away. Who has a parent would hear of a new
// record from there.
func (p *Presence) back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watch || len(p.ours) > 0 {
		p.doubted = time.Now()
		notify(p.doubtKick)
	}
}

// doubt says for how long a member of a closed room has had reason to think that its
// record is old: it hears nothing of what it watches, as all is said under another epoch's
// secret, or there was a sign.
func (p *Presence) doubt(now time.Time) (d time.Duration, ok bool) {
	if p.room().Admission == Open {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.doubted
	ok = now.Sub(since) < doubtSpan
	if p.watch && now.Sub(p.heard.arrived) >= headFresh {
		ok = true
		for _, t := range []time.Time{p.heard.began, p.heard.arrived} {
			if t.After(since) {
				since = t
			}
		}
	}
	return now.Sub(since), ok
}

// lookout says when a newer record of the room is to be looked for.
type lookout struct {
	p       *Presence
	regular time.Time // by the clock
	early   time.Time // in doubt; zero: not
	again   int       // lookups left after a notice
	told    uint64    // seq of the newest record delivered
	toldAt  time.Time
}

func (p *Presence) newLookout(now time.Time) *lookout {
	l := &lookout{p: p, regular: now.Add(p.lookPause())}
	if r := p.room(); r.fetched && r.Admission != Open {
		// The first record that was found may not have been the newest.
		l.regular = now.Add(jitter(noticeLeast))
	}
	return l
}

// next is when to look.
func (l *lookout) next() time.Time {
	if !l.early.IsZero() && l.early.Before(l.regular) {
		return l.early
	}
	return l.regular
}

// look looks for a newer record if that is due now, and delivers it.
func (l *lookout) look(now time.Time) {
	d, doubt := l.p.doubt(now)
	switch {
	case !doubt:
		l.early = time.Time{}
	case l.early.IsZero():
		l.early = now.Add(doubtPause(d))
	default: // what began meanwhile may ask for haste
		if t := now.Add(doubtPause(d)); t.Before(l.early) {
			l.early = t
		}
	}
	if l.again == 0 && now.Before(l.next()) {
		return
	}
	l.regular = now.Add(l.p.lookPause())
	if raw := l.p.lookForRecord(); raw != nil {
		l.again = 0
		l.tell(raw)
	} else if l.again--; l.again > 0 {
		l.regular = now.Add(noticeLeast)
	}
	l.again = max(l.again, 0)
	if doubt {
		l.early = time.Now().Add(doubtPause(d))
	}
}

// tell delivers a record.
func (l *lookout) tell(raw []byte) {
	now, seq := time.Now(), l.p.room().Seq(raw)
	if seq > l.told || now.Sub(l.toldAt) >= tellAgain {
		l.told, l.toldAt = seq, now
		pushOldest(l.p.records, raw)
	}
}

func (p *Presence) lookPause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.h.cfg.Signal == DHT && len(p.streams) > 0 {
		return jitter(roomLookDHT)
	}
	return jitter(roomLook)
}

// lookForRecord gets the newest record of the room from the DHT; nil if there is none
// newer than ours.
func (p *Presence) lookForRecord() []byte {
	ctx, cancel := context.WithTimeout(p.ctx, getTimeout)
	defer cancel()
	r := p.room()
	p.h.refill()
	values, err := p.h.kad.SearchValue(ctx, dhtKey(kindRoom, r.key, place{}, nil))
	if err != nil {
		return nil
	}
	for raw := range values {
		if r.Seq(raw) > r.seq { // each value is better than those before, but any newer one will do
			return raw
		}
	}
	return nil
}
