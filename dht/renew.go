package dht

import (
	"context"
	"time"
)

const (
	roomRefresh = time.Hour // the record is put again

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
	nextPut := now
	if p.room().fetched {
		nextPut = now.Add(jitter(roomRefresh))
	}
	retry := backoff{first: 100 * time.Millisecond, most: time.Minute}
	lookout, care := p.newLookout(now), p.newRecordCare(now)
	for {
		next := nextPut
		for _, t := range []time.Time{lookout.next(), care.next} {
			if t.Before(next) {
				next = t
			}
		}
		if !p.wakeRoom(max(time.Until(next), 0), care.returned, &lookout.again) {
			return
		}
		now := time.Now()
		if care.missing(now) {
			nextPut = now
		}
		lookout.look(now)
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
		care.put()
	}
}

// wakeRoom waits for d, a notice, a doubt, or until a bootstrap node is back; false when the
// presence ends.
func (p *Presence) wakeRoom(d time.Duration, returned <-chan struct{}, again *int) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.doubtKick:
	case <-returned:
		p.back()
	case <-p.roomKick:
		*again = noticeLooks
	case <-p.ctx.Done():
		return false
	}
	return true
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
