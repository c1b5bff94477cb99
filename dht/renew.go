package dht

import (
	"context"
	"time"
)

const (
	roomRefresh = time.Hour              // the record is put again
	roomLook    = 5 * time.Minute        // a newer one is looked for
	roomLookDHT = 3 * time.Second        // without gossip, by those who hear offers
	noticeLooks = 6                      // lookups after a notice: the record may be on its way
	noticeLeast = 500 * time.Millisecond // between two lookups, and two notices

	announceTimes = 3
	announceAgain = 250 * time.Millisecond

	noticeRecord = 1 // the plain body of an ask that tells of a newer room record
)

// Records delivers room records that are newer than the one this presence goes by: their
// signature has been checked, the room's secret not been unwrapped.
func (p *Presence) Records() <-chan []byte { return p.records }

// Announce tells the members of old, by gossip, that the room has a newer record in the
// DHT. It takes three quarters of a second: nothing says when a message has left, so it is said
// again.
func (h *Host) Announce(ctx context.Context, old *Room) error {
	if h.cfg.Signal == DHT {
		return nil
	}
	s := &old.secret
	at := s.place("offers")
	for range announceTimes {
		head := newHeader(kindAsk, h.self, h.clock.next(), askLife)
		if err := h.publish(ctx, at, head.sign(h.key, at, s.seal("ask", head, []byte{noticeRecord}))); err != nil {
			return err
		}
		if !sleep(ctx, announceAgain) {
			return ctx.Err()
		}
	}
	return nil
}

// takeNotice looks for what a member tells of.
func (p *Presence) takeNotice(what byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); what == noticeRecord && now.Sub(p.notice) >= noticeLeast {
		p.notice = now
		notify(p.roomKick)
	}
}

// tendRoom puts the room's record again, so its creator may be offline, and looks for a
// newer one.
func (p *Presence) tendRoom() {
	now := time.Now()
	nextPut, nextLook := now, now.Add(p.lookPause())
	if r := p.room(); r.fetched {
		nextPut = now.Add(jitter(roomRefresh))
		if r.Admission != Open {
			// The first record that was found may not have been the newest.
			nextLook = now.Add(jitter(noticeLeast))
		}
	}
	retry := backoff{first: 100 * time.Millisecond, most: time.Minute}
	var told uint64 // seq of the newest record delivered
	again := 0
	for {
		next := nextPut
		if nextLook.Before(next) {
			next = nextLook
		}
		if !p.wakeRoom(max(time.Until(next), 0), &again) {
			return
		}
		now := time.Now()
		if again > 0 || !now.Before(nextLook) {
			nextLook = now.Add(p.lookPause())
			if raw := p.lookForRecord(); raw != nil {
				again = 0
				if rec, err := parseRecord(raw); err == nil && rec.seq > told {
					told = rec.seq
					pushOldest(p.records, raw)
				}
			} else if again--; again > 0 {
				nextLook = now.Add(noticeLeast)
			}
		}
		if now.Before(nextPut) {
			continue
		}
		if err := p.putRoom(); err != nil {
			p.h.awaitTable(p.ctx, time.Minute)
			nextPut = time.Now().Add(retry.next())
			continue
		}
		retry.reset()
		nextPut = time.Now().Add(jitter(roomRefresh))
	}
}

// wakeRoom waits for d or a notice; false when the presence ends.
func (p *Presence) wakeRoom(d time.Duration, again *int) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.roomKick:
		*again = noticeLooks
	case <-p.ctx.Done():
		return false
	}
	return true
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

// putRoom puts the record with all its wraps, of which a member has only its own at first.
func (p *Presence) putRoom() error {
	r := p.room()
	var missing []place
	for _, c := range r.index {
		if r.chunks[c.at] == nil {
			missing = append(missing, c.at)
		}
	}
	if len(missing) > 0 {
		full := *r
		full.chunks = make(map[place][]byte, len(r.index))
		for at, raw := range r.chunks {
			full.chunks[at] = raw
		}
		get := full.keeping(p.h.chunksOf(r.key))
		for _, at := range missing {
			_, _ = get(p.ctx, at) // others may have what is not found now
		}
		p.current.CompareAndSwap(r, &full)
		r = &full
	}
	return p.h.PutRoom(p.ctx, r)
}
