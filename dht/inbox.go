package dht

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	inboxBucket  = 30 * time.Second
	inboxAlone   = 2 * time.Second        // between looks while gossip has no peer
	inboxCalm    = 3 * time.Second        // DESIGN has 30: a joiner whose only carrier is the DHT would wait as long
	inboxOnly    = 250 * time.Millisecond // when the DHT is the only carrier
	inboxAgain   = 2 * time.Second        // at most between looks at a joiner who may offer again
	inboxJoiners = 64                     // looked at per stream, bucket and look
	inboxLookers = 2                      // entries that look beside the speaker while gossip works: were it all, they would be most of the DHT's traffic
	offerAlone   = 400 * time.Millisecond // an offer goes by gossip alone, while gossip has peers: most are answered within
	answerAlone  = 600 * time.Millisecond // the same for an answer, until the link is up
	maxPending   = 64                     // offers of ours that wait for answers
	maxSeen      = 4096                   // offers remembered as seen
)

// pending is an offer of ours.
type pending struct {
	stream   [16]byte
	id       uint64
	until    time.Time
	answered chan struct{} // closed by the first answer, or when the offer is given up
	from     map[peer.ID]bool
}

// done says whether the first answer has come.
func (pd *pending) done() bool {
	select {
	case <-pd.answered:
		return true
	default:
		return false
	}
}

// inbox remembers which offers were taken, and whom to look at again when.
type inbox struct {
	seen    map[offerID]time.Time
	joiners map[slot]*joinerSlot
	heard   map[pubKey]time.Time // joiners whose offers come by gossip, whomever they are for
	duty    map[[16]byte]bool    // streams in whose newest head we are one of the lookers
}

type offerID struct {
	joiner peer.ID
	stream [16]byte
	id     uint64
}

type slot struct {
	joiner peer.ID
	stream [16]byte
}

type joinerSlot struct {
	wait backoff
	next time.Time
	seq  uint64
}

func newInbox() inbox {
	return inbox{
		seen: map[offerID]time.Time{}, joiners: map[slot]*joinerSlot{},
		heard: map[pubKey]time.Time{}, duty: map[[16]byte]bool{},
	}
}

// hears notes that gossip brings what a joiner offers.
func (b *inbox) hears(joiner pubKey, now time.Time) {
	if len(b.heard) >= maxSeen {
		for k, at := range b.heard {
			if now.Sub(at) > 2*inboxBucket || len(b.heard) >= maxSeen {
				delete(b.heard, k)
			}
		}
	}
	b.heard[joiner] = now
}

// gossips says whether a joiner need not be looked at for as long as it may be listed.
func (b *inbox) gossips(joiner pubKey, now time.Time) bool {
	at, ok := b.heard[joiner]
	return ok && now.Sub(at) < 2*inboxBucket
}

// lookers are the entries of a head that look into the DHT's inbox.
func lookers(entries []HeadEntry) []HeadEntry { return entries[:min(len(entries), inboxLookers)] }

// byDHT leaves of a head those entries that a joiner reaches whose only carrier is the DHT.
func byDHT(h Head) []HeadEntry {
	list := slices.Clone(lookers(h.Entries))
	for _, e := range h.Entries[len(list):] {
		if e.Peer == h.Speaker {
			list = append(list, e)
		}
	}
	return list
}

// dhtOnly says that nobody hears us by gossip.
func (p *Presence) dhtOnly() bool {
	p.mu.Lock()
	at := p.topics["offers"].at
	p.mu.Unlock()
	return p.h.cfg.Signal == DHT || p.h.cfg.Signal == Both && len(p.h.ps.ListPeers(topicName(at))) == 0
}

// first notes an offer and says whether it was not seen before.
func (b *inbox) first(id offerID, now time.Time) bool {
	if _, ok := b.seen[id]; ok {
		return false
	}
	if len(b.seen) >= maxSeen {
		for k, at := range b.seen {
			if now.Sub(at) > 2*offerLife || len(b.seen) >= maxSeen {
				delete(b.seen, k)
			}
		}
	}
	b.seen[id] = now
	return true
}

// due says whether a joiner's slot should be looked at now; each look that brings
// nothing new doubles the wait.
func (b *inbox) due(s slot, now time.Time) bool {
	j := b.joiners[s]
	if j == nil {
		for k, old := range b.joiners {
			if now.Sub(old.next) > 2*inboxBucket {
				delete(b.joiners, k)
			}
		}
		if len(b.joiners) >= maxSeen {
			return false
		}
		j = &joinerSlot{wait: backoff{first: inboxOnly, most: inboxAgain}}
		b.joiners[s] = j
	}
	if now.Before(j.next) {
		return false
	}
	j.next = now.Add(j.wait.next())
	return true
}

// found notes what a look brought.
func (b *inbox) found(s slot, seq uint64) {
	if j := b.joiners[s]; j != nil && seq > j.seq {
		j.seq = seq
		j.wait.reset()
		j.next = time.Time{}
	}
}

// offerSlot is the last part of an offer's DHT key.
func (p *Presence) offerSlot(stream [16]byte) []byte {
	return p.room().secret.name("offer slot", stream[:])[:8]
}

// SendOffer seals body to entry and publishes it by gossip, and in the DHT unless the answer
// has come by gossip within offerAlone; the answer comes on Answers.
func (p *Presence) SendOffer(stream [16]byte, to peer.ID, box [32]byte, id uint64, body []byte) error {
	if to == p.h.host.ID() {
		return errors.New("an offer to ourselves")
	}
	s := &p.room().secret
	rec, content, err := sealOffer(s, p.h.key, p.box, p.h.clock.next(), stream, box, id, body)
	if err != nil {
		return err
	}
	key, pd, err := p.await(content, stream, id)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.want(time.Now().Add(answerLinger), shard(p.h.self))
	offset := p.heard.offset[stream]
	p.mu.Unlock()

	at := s.place("offers")
	p.tell(to, at, rec)
	p.say(at, rec, offerLife)
	if p.h.cfg.Signal == Gossip {
		return nil
	}
	alone := time.Duration(0)
	if !p.dhtOnly() {
		alone = offerAlone
	}
	p.wg.Go(func() {
		if wake(p.ctx, alone, pd.answered) && !pd.done() {
			p.offerByDHT(stream, rec, offset)
			p.pollAnswer(key, pd)
		}
	})
	return nil
}

// offerByDHT puts an offer into the DHT and lists us under the stream's inbox; offset is
// what the speaker's clock is ahead of ours.
func (p *Presence) offerByDHT(stream [16]byte, rec []byte, offset time.Duration) {
	s := &p.room().secret
	at := s.place("offers")
	// The bucket goes by the speaker's clock, so a joiner's own may be wrong.
	bucket := bucketOf(p.h.clock.now().Add(offset), inboxBucket)
	p.background(func(ctx context.Context) {
		if err := p.h.put(ctx, dhtKey(kindOffer, p.h.self, at, p.offerSlot(stream)), rec); err != nil && ctx.Err() == nil {
			p.h.log.Debug("the offer was not stored", "err", err)
		}
	})
	p.background(func(ctx context.Context) { _ = p.h.provide(ctx, s.rendezvous("inbox", stream[:], bucket)) })
}

// pollAnswer looks for the answer in the DHT until it has come by either carrier.
func (p *Presence) pollAnswer(key pubKey, pd *pending) {
	ctx, cancel := context.WithDeadline(p.ctx, pd.until)
	defer cancel()
	at := p.room().secret.place(shard(p.h.self))
	wait := backoff{first: 100 * time.Millisecond, most: time.Second}
	for {
		t := time.NewTimer(wait.next())
		select {
		case <-t.C:
		case <-pd.answered:
			t.Stop()
			return
		case <-ctx.Done():
			t.Stop()
			return
		}
		_ = p.h.pool.do(ctx, func() {
			raw, _ := p.h.getOnce(ctx, dhtKey(kindAnswer, key, at, nil))
			if raw == nil {
				return
			}
			if r, err := check(raw, kindAnswer, at, p.h.clock.now()); err == nil {
				p.takeAnswer(r, DHT)
			}
		})
	}
}

// SendAnswer answers an offer by gossip, and in the DHT unless Linked is said of the joiner
// within answerAlone.
func (p *Presence) SendAnswer(o Offer, body []byte) error {
	rec, err := sealAnswer(&p.room().secret, p.h.key, p.box, p.h.clock.next(), o, body)
	if err != nil {
		return err
	}
	joiner, _ := keyOf(o.Joiner)
	at := p.room().secret.place(shard(joiner))
	p.tell(o.Joiner, at, rec)
	p.say(at, rec, offerLife)
	if p.h.cfg.Signal == Gossip {
		return nil
	}
	key := dhtKey(kindAnswer, publicOf(answerKey(o.content)), at, nil)
	put := func(ctx context.Context) {
		if err := p.h.put(ctx, key, rec); err != nil && ctx.Err() == nil {
			p.h.log.Debug("the answer was not stored", "err", err)
		}
	}
	if o.Via == DHT || p.dhtOnly() {
		p.background(put)
		return nil
	}
	linked := p.awaitLink(o.Joiner)
	p.wg.Go(func() {
		select {
		case <-time.After(answerAlone):
			p.mu.Lock()
			delete(p.unlinked, o.Joiner)
			p.mu.Unlock()
			p.background(put)
		case <-linked:
		case <-p.ctx.Done():
		}
	})
	return nil
}

// awaitLink gives what Linked of a joiner closes.
func (p *Presence) awaitLink(joiner peer.ID) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.unlinked[joiner]; c != nil {
		return c
	}
	c := make(chan struct{})
	if len(p.unlinked) < maxSeen {
		p.unlinked[joiner] = c
	}
	return c
}

// Linked tells that the answer to a joiner has arrived: the link with it is up.
func (p *Presence) Linked(joiner peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.unlinked[joiner]; c != nil {
		close(c)
		delete(p.unlinked, joiner)
	}
}

// ParseForwarded checks and opens what Forward gave to a node above.
func (p *Presence) ParseForwarded(b []byte) (Offer, error) {
	o, err := parseForwarded(&p.room().secret, b, p.h.clock.now())
	if err != nil {
		return o, fmt.Errorf("a forwarded offer: %w", err)
	}
	return o, nil
}

// takeOffer handles an offer record: of a stream that we listen for, sealed to us, new.
func (p *Presence) takeOffer(r record, via Signal) {
	p.mu.Lock()
	listening := len(p.streams) > 0
	if listening && via != DHT {
		p.inbox.hears(r.writer, time.Now())
	}
	p.mu.Unlock()
	if !listening || r.writer == p.h.self {
		return
	}
	o, err := openOffer(&p.room().secret, r, p.box, nil)
	if err != nil {
		return // mostly: sealed to another entry
	}
	o.Via = via
	p.h.clocks.heard(&r, p.h.clock.now())
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.streams[o.Stream] || !p.inbox.first(offerID{o.Joiner, o.Stream, o.ID}, now) {
		return
	}
	select {
	case p.offers <- o:
	default:
		p.h.dropped.Add(1)
	}
}

// takeAnswer handles an answer record to an offer of ours.
func (p *Presence) takeAnswer(r record, via Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pd := p.pending[r.writer]
	if pd == nil || time.Now().After(pd.until) {
		return
	}
	a, err := openAnswer(r, p.box, pd.stream, pd.id)
	if err != nil || pd.from[a.From] {
		return
	}
	if len(pd.from) == 0 {
		close(pd.answered)
	}
	pd.from[a.From] = true
	a.Via = via
	if pushOldest(p.answers, a) {
		p.h.dropped.Add(1)
	}
}

// tendInbox looks for offers in the DHT, which does not notify.
func (p *Presence) tendInbox() {
	for {
		only := p.dhtOnly()
		p.mu.Lock()
		var streams [][16]byte
		listening := len(p.streams) > 0
		for s := range p.streams {
			if only || p.ours[s] != nil || p.inbox.duty[s] {
				streams = append(streams, s)
			}
		}
		p.mu.Unlock()
		wait := time.Hour
		if listening {
			for _, s := range streams {
				p.lookForOffers(s)
			}
			switch {
			case p.h.cfg.Signal == DHT:
				wait = inboxOnly
			case only:
				wait = inboxAlone
			default:
				wait = jitter(inboxCalm)
			}
		}
		if !wake(p.ctx, wait, p.inboxKick) {
			return
		}
	}
}

// lookForOffers looks into the current and the last bucket of a stream's inbox.
func (p *Presence) lookForOffers(stream [16]byte) {
	s := &p.room().secret
	p.mu.Lock()
	at, bucket := p.topics["offers"].at, bucketOf(p.h.clock.now().Add(p.heard.offset[stream]), inboxBucket)
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, b := range []uint64{bucket, bucket - 1} {
		p.wg.Go(func() {
			defer func() { done <- struct{}{} }()
			for _, ai := range p.h.providers(p.ctx, s.rendezvous("inbox", stream[:], b), inboxJoiners) {
				p.lookAt(slot{ai.ID, stream}, at)
			}
		})
	}
	<-done
	<-done
}

func (p *Presence) lookAt(s slot, at place) {
	key, ok := keyOf(s.joiner)
	p.mu.Lock()
	ok = ok && !p.inbox.gossips(key, time.Now()) && p.inbox.due(s, time.Now())
	p.mu.Unlock()
	if !ok {
		return
	}
	p.background(func(ctx context.Context) {
		raw, _ := p.h.getOnce(ctx, dhtKey(kindOffer, key, at, p.offerSlot(s.stream)))
		if raw == nil {
			return
		}
		r, err := check(raw, kindOffer, at, p.h.clock.now())
		if err != nil {
			return
		}
		p.mu.Lock()
		p.inbox.found(s, r.seq)
		p.mu.Unlock()
		p.takeOffer(r, DHT)
	})
}
