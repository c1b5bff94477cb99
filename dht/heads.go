package dht

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	headSayLeast = 1900 * time.Millisecond // between two by gossip: the tree has a new one every 2 s at least
	headPutEvery = 10 * time.Second
	headPutLeast = time.Second
	headFresh    = 5 * time.Second // without a newer one, the DHT is asked
	provideHeads = 5 * time.Minute
	askLife      = 5 * time.Second
	askLeast     = 100 * time.Millisecond // between two heads said to the same shard on request
	lookAfter    = 200 * time.Millisecond // the DHT is asked for heads when gossip has not brought one so soon
	maxHeard     = 64                     // streams and speakers remembered
)

// headBook is what we heard of the room's streams.
type headBook struct {
	newest  map[[16]byte]heardHead
	offset  map[[16]byte]time.Duration // the speaker's clock minus ours
	arrived time.Time                  // when the newest head that has come was said, zero since restart
	live    time.Time                  // when one last came that was not kept for us by the DHT, the same
	began   time.Time
}

type heardHead struct {
	speaker peer.ID
	seq     uint64
	at      time.Time
}

func newHeadBook() headBook {
	return headBook{newest: map[[16]byte]heardHead{}, offset: map[[16]byte]time.Duration{}}
}

// restart forgets that heads arrived, when a node begins to look for a parent.
func (b *headBook) restart() { b.arrived, b.live, b.began = time.Time{}, time.Time{}, time.Now() }

// came notes a head that tells us something new. What the DHT has kept may be of a speaker that
// has died since: its age counts, as far as that is known, and who speaks now is asked all the same.
func (b *headBook) came(stream [16]byte, off time.Duration, via Signal, now time.Time) {
	if via != DHT {
		b.arrived, b.live = now, now
	} else if said := now.Add(off - b.offset[stream]); said.After(b.arrived) {
		b.arrived = said
	}
}

// newer notes h and says whether it tells us something new. A stream stays with the
// speaker it was first heard of from.
func (b *headBook) newer(h Head, now time.Time) bool {
	old, ok := b.newest[h.Stream]
	if ok && (old.speaker != h.Speaker || h.Seq <= old.seq) {
		return false
	}
	if !ok && len(b.newest) >= maxHeard {
		oldest, at := h.Stream, now
		for s, e := range b.newest {
			if !e.at.After(at) {
				oldest, at = s, e.at
			}
		}
		delete(b.newest, oldest)
	}
	b.newest[h.Stream] = heardHead{h.Speaker, h.Seq, now}
	return true
}

// clock notes how far the clock of a stream's speaker is ahead of ours. A head from the
// DHT may be old, so there the largest offset is the nearest.
func (b *headBook) clock(stream [16]byte, off time.Duration, via Signal) {
	old, ok := b.offset[stream]
	if !ok && len(b.offset) >= maxHeard {
		clear(b.offset)
	}
	if !ok || via == Gossip || off > old {
		b.offset[stream] = off
	}
}

// takeHead handles a head record.
func (p *Presence) takeHead(r record, via Signal) {
	speaker := r.writer.ID()
	if !p.room().MaySpeak(speaker) {
		return
	}
	plain, err := p.room().secret.open("head", r.header, r.body)
	if err != nil {
		return
	}
	heads, err := decodeHeads(speaker, plain)
	if err != nil {
		return
	}
	p.h.clocks.heard(&r, p.h.clock.now())
	only := p.dhtOnly()
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	off := time.UnixMilli(int64(r.seq)).Sub(p.h.clock.now())
	for _, h := range heads {
		h.Said = r.seq
		p.heard.clock(h.Stream, off, via)
		p.setDuty(h.Stream, h.Entries)
		// What is not delivered is not noted as seen: it may be the newest there is when
		// we begin to watch.
		if !p.watch || !p.heard.newer(h, now) {
			continue
		}
		if !h.Ended {
			p.heard.came(h.Stream, off, via, now)
		}
		if only {
			h.Entries = byDHT(h)
		}
		pushOldest(p.heads, h)
	}
}

// HeadPassed tells of the entries of a stream's newest head, for those who get heads down
// the tree: whether we are to look into the stream's inbox goes by that.
func (p *Presence) HeadPassed(stream [16]byte, entries []HeadEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.setDuty(stream, entries) {
		notify(p.inboxKick)
	}
}

// setDuty notes whether a head makes us look into its stream's inbox, and says whether that
// is new. p.mu is held.
func (p *Presence) setDuty(stream [16]byte, entries []HeadEntry) bool {
	if !p.streams[stream] {
		return false
	}
	was := p.inbox.duty[stream]
	p.inbox.duty[stream] = slices.ContainsFunc(lookers(entries), func(e HeadEntry) bool { return e.Peer == p.h.host.ID() })
	return !was && p.inbox.duty[stream]
}

// pushOldest sends on a full channel at the cost of its oldest. One sender at a time.
func pushOldest[T any](c chan T, v T) (dropped bool) {
	for {
		select {
		case c <- v:
			return dropped
		default:
		}
		select {
		case <-c:
			dropped = true
		default:
		}
	}
}

// tendHeads looks for heads while they are watched: it asks speakers by gossip, and
// looks into the DHT, both with back-off until a head has come.
func (p *Presence) tendHeads() {
	ask := backoff{first: 250 * time.Millisecond, most: 8 * time.Second}
	look := backoff{first: 250 * time.Millisecond, most: 2 * time.Second}
	var nextAsk, nextLook, began time.Time
	for {
		p.mu.Lock()
		watch, arrived, live := p.watch, p.heard.arrived, p.heard.live
		restarted := !p.heard.began.Equal(began)
		began = p.heard.began
		p.mu.Unlock()
		now := time.Now()
		if restarted {
			ask.reset()
			look.reset()
			// Another joiner's question may bring the answer to ours.
			nextAsk, nextLook = now.Add(jitter(50*time.Millisecond)), now
			if p.h.cfg.Signal == Both {
				nextLook = now.Add(lookAfter)
			}
		}
		if !watch {
			if !wake(p.ctx, time.Hour, p.headsKick) {
				return
			}
			continue
		}
		if now.Sub(live) < headFresh {
			ask.reset()
		}
		fresh := now.Sub(arrived) < headFresh
		if fresh {
			look.reset()
		}
		if !now.Before(nextAsk) {
			if now.Sub(live) >= headFresh {
				p.ask()
			}
			if !fresh {
				notify(p.doubtKick)
			}
			nextAsk = now.Add(ask.next())
		}
		if !now.Before(nextLook) {
			if p.h.cfg.Signal == DHT || p.h.cfg.Signal == Both && !fresh {
				p.lookForHeads()
			}
			nextLook = time.Now().Add(look.next())
		}
		next := nextAsk
		if nextLook.Before(next) {
			next = nextLook
		}
		if !wake(p.ctx, max(time.Until(next), time.Millisecond), p.headsKick) {
			return
		}
	}
}

// ask makes speakers say their heads to us now instead of to all within 2 s.
func (p *Presence) ask() {
	s := &p.room().secret
	h := newHeader(kindAsk, p.h.self, p.h.clock.next(), askLife)
	at := s.place("offers")
	p.say(at, h.sign(p.h.key, at, s.seal("ask", h, nil)), askLife)
}

// takeAsk says our heads again where answers to the asker are said: most who hear the
// topic of heads need no newer one.
func (p *Presence) takeAsk(r record) {
	plain, err := p.room().secret.open("ask", r.header, r.body)
	if err != nil {
		return
	}
	if len(plain) > 0 {
		p.takeNotice(plain[0])
		return
	}
	p.mu.Lock()
	var heads []Head
	asker := shard(r.writer)
	if now := time.Now(); now.Sub(p.asked[asker]) >= askLeast {
		p.asked[asker] = now
		heads = p.liveHeads(now)
	}
	p.mu.Unlock()
	for _, h := range heads {
		p.sayHead(asker, h)
	}
}

// lookForHeads asks the DHT for the heads of all who may speak.
func (p *Presence) lookForHeads() {
	s := &p.room().secret
	at := s.place("head")
	speakers := slices.Clone(p.room().Speakers)
	if p.room().AnyoneSpeaks {
		for _, ai := range p.h.providers(p.ctx, s.rendezvous("heads", nil, 0), maxHeard) {
			if !slices.Contains(speakers, ai.ID) {
				speakers = append(speakers, ai.ID)
			}
		}
	}
	done := make(chan struct{})
	asked := 0
	for _, sp := range speakers {
		key, ok := keyOf(sp)
		if !ok || key == p.h.self || asked == maxHeard {
			continue
		}
		asked++
		p.wg.Go(func() {
			defer func() { done <- struct{}{} }()
			_ = p.h.pool.do(p.ctx, func() {
				// One try: the loop comes back.
				raw, _ := p.h.getOnce(p.ctx, dhtKey(kindHead, key, at, nil))
				if raw == nil {
					return
				}
				if r, err := check(raw, kindHead, at, p.h.clock.now()); err == nil {
					p.takeHead(r, DHT)
				}
			})
		})
	}
	for ; asked > 0; asked-- {
		<-done
	}
}

// ourHead is the newest head of a stream of ours.
type ourHead struct {
	Head
	at   time.Time
	said time.Time // by gossip, this one or an older
}

// PublishHead publishes a head of our own stream: by gossip unless the last was said less
// than two seconds ago, in the DHT every 10 s and when its entries changed. Heads carry
// the epoch's seal and our signature.
func (p *Presence) PublishHead(h Head) {
	h.Speaker = p.h.host.ID()
	h.Entries, h.Layers = slices.Clone(h.Entries), slices.Clone(h.Layers)
	now := time.Now()
	p.mu.Lock()
	old := p.ours[h.Stream]
	if old == nil && len(p.ours) >= maxHeads {
		p.mu.Unlock()
		p.h.dropped.Add(1)
		return
	}
	if old == nil || h.Ended != old.Ended || !sameEntries(old.Entries, h.Entries) {
		p.putDirty = true
	}
	o := &ourHead{Head: h, at: now, said: now}
	say := old == nil || h.Ended || now.Sub(old.said) >= headSayLeast
	if !say {
		o.said = old.said
	}
	p.ours[h.Stream] = o
	if old == nil {
		p.want(now.Add(topicLinger))
	}
	p.mu.Unlock()
	if say {
		p.sayHead("head", h)
	}
	notify(p.putKick)
}

// sameEntries: for the DHT a head has changed when who takes offers has.
func sameEntries(a, b []HeadEntry) bool {
	return slices.EqualFunc(a, b, func(x, y HeadEntry) bool {
		return x.Peer == y.Peer && x.Box == y.Box && x.Opening == y.Opening
	})
}

// liveHeads are our heads that are not over for long. p.mu is held.
func (p *Presence) liveHeads(now time.Time) []Head {
	var heads []Head
	for s, o := range p.ours {
		if now.Sub(o.at) > headLife {
			delete(p.ours, s)
			continue
		}
		heads = append(heads, o.Head)
	}
	slices.SortFunc(heads, func(a, b Head) int { return slices.Compare(a.Stream[:], b.Stream[:]) })
	return heads
}

// headRecord makes a record of heads for a topic.
func (p *Presence) headRecord(topic string, heads ...Head) (place, []byte) {
	s := &p.room().secret
	h := newHeader(kindHead, p.h.self, p.h.clock.next(), headLife)
	at := s.place(topic)
	return at, h.sign(p.h.key, at, s.seal("head", h, encodeHeads(heads...)))
}

func (p *Presence) sayHead(topic string, h Head) {
	at, rec := p.headRecord(topic, h)
	p.say(at, rec, headPutLeast) // the next head says more
}

// tendPuts keeps our heads in the DHT.
func (p *Presence) tendPuts() {
	var provided time.Time
	for {
		p.mu.Lock()
		now := time.Now()
		heads := p.liveHeads(now)
		wait := time.Hour
		if len(heads) > 0 {
			wait = p.lastPut.Add(headPutEvery).Sub(now)
			if p.putDirty {
				wait = p.lastPut.Add(headPutLeast).Sub(now)
			}
		}
		due := wait <= 0
		if due {
			p.lastPut, p.putDirty = now, false
		}
		p.mu.Unlock()
		if due {
			list := p.room().AnyoneSpeaks && now.Sub(provided) > provideHeads
			if list {
				provided = now
			}
			p.background(func(ctx context.Context) { p.putHeads(ctx, list) })
			continue
		}
		if !wake(p.ctx, wait, p.putKick) {
			return
		}
	}
}

// putHeads puts the newest heads, one put at a time: of two at once the older might
// come last, and be refused.
func (p *Presence) putHeads(ctx context.Context, list bool) {
	select {
	case p.putting <- struct{}{}:
		defer func() { <-p.putting }()
	case <-ctx.Done():
		return
	}
	p.mu.Lock()
	heads := p.liveHeads(time.Now())
	p.mu.Unlock()
	if len(heads) == 0 {
		return
	}
	at, rec := p.headRecord("head", heads...)
	key := dhtKey(kindHead, p.h.self, at, nil)
	err := p.h.put(ctx, key, rec)
	if errors.Is(err, ErrNotReached) && p.h.awaitTable(ctx, headPutEvery) {
		err = p.h.put(ctx, key, rec)
	}
	if list && err == nil {
		err = p.h.provide(ctx, p.room().secret.rendezvous("heads", nil, 0))
	}
	if err != nil && ctx.Err() == nil {
		p.h.log.Debug("the head was not stored", "err", err)
	}
}
