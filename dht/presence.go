package dht

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// topicLinger is how long a topic is kept after its last use: a node whose parent
	// flaps must not leave the mesh and come back (gossipsub holds that against it 10 s).
	topicLinger = 10 * time.Second
	// answerLinger keeps the answers topic while an offer is out.
	answerLinger = offerLife

	headQueue, offerQueue, answerQueue, recordQueue = 16, 256, 64, 2

	goodbye = 500 * time.Millisecond
)

// Presence is this node's part in one room: its topics, its inbox in the DHT, its
// member record. One goroutine calls its methods; channels deliver what comes.
type Presence struct {
	h       *Host
	current atomic.Pointer[Room] // its record may change, the epoch never
	me      Member
	box     *ecdh.PrivateKey

	ctx    context.Context // ends with Leave
	cancel context.CancelFunc
	wg     sync.WaitGroup

	heads   chan Head
	offers  chan Offer
	answers chan Answer
	records chan []byte

	putting chan struct{} // one put of heads at a time

	topicsKick, headsKick, inboxKick, putKick, roomKick, doubtKick chan struct{} // wake the loops

	mu       sync.Mutex // guards all below
	watch    bool       // heads are wanted
	streams  map[[16]byte]bool
	topics   map[string]*use
	inbox    inbox
	pending  map[pubKey]*pending       // our offers by the answer key
	unlinked map[peer.ID]chan struct{} // joiners that we have answered, see Linked
	heard    headBook
	ours     map[[16]byte]*ourHead
	asked    map[string]time.Time // when we last answered an ask, by the asker's shard
	lastPut  time.Time            // of the heads in the DHT
	putDirty bool
	notice   time.Time // when we last were told of a new record
	doubted  time.Time // when there last began to be signs of one
	renewed  bool      // another presence goes on in the room
}

func (p *Presence) room() *Room { return p.current.Load() }

// use is one of our topics. It is subscribed to while until lies ahead.
type use struct {
	at    place
	until time.Time
	sub   *pubsub.Subscription
}

// Enter begins to take part in room r: publishes the member record and keeps it fresh.
func (h *Host) Enter(r *Room, m Member) (*Presence, error) {
	h.mu.Lock()
	taken, closed := h.rooms[r.ID], h.ctx.Err() != nil
	h.rooms[r.ID] = true
	h.mu.Unlock()
	if closed {
		return nil, errors.New("entering the room: the host is closed")
	}
	if taken {
		return nil, fmt.Errorf("this node is in room %s already", r.ID)
	}
	return h.enter(r, m), nil
}

// Renew goes on with a newer record of the room (Host.Reopen). If its epoch is the same
// that is all, and p is returned. A new epoch has other keys, so all is said elsewhere: another
// presence takes over, and p is only to be left.
func (p *Presence) Renew(r *Room) *Presence {
	if r.Epoch == p.room().Epoch {
		p.current.Store(r)
		return p
	}
	p.mu.Lock()
	p.renewed = true
	p.mu.Unlock()
	return p.h.enter(r, p.me)
}

func (h *Host) enter(r *Room, m Member) *Presence {
	m.Peer = h.host.ID()
	if m.Since.IsZero() {
		m.Since = h.clock.now()
	}
	p := &Presence{
		h: h, me: m, box: h.box, records: make(chan []byte, recordQueue), roomKick: make(chan struct{}, 1), doubtKick: make(chan struct{}, 1),
		heads: make(chan Head, headQueue), offers: make(chan Offer, offerQueue), answers: make(chan Answer, answerQueue),
		putting: make(chan struct{}, 1), topicsKick: make(chan struct{}, 1), headsKick: make(chan struct{}, 1),
		inboxKick: make(chan struct{}, 1), putKick: make(chan struct{}, 1),
		asked: map[string]time.Time{}, unlinked: map[peer.ID]chan struct{}{},
		streams: map[[16]byte]bool{}, pending: map[pubKey]*pending{},
		ours: map[[16]byte]*ourHead{}, heard: newHeadBook(), inbox: newInbox(),
		topics: map[string]*use{
			"head":        {at: r.secret.place("head")},
			"offers":      {at: r.secret.place("offers")},
			shard(h.self): {at: r.secret.place(shard(h.self))},
		},
	}
	p.current.Store(r)
	p.ctx, p.cancel = context.WithCancel(h.ctx)
	p.mu.Lock()
	// The meshes are to be ready before the first offer goes out.
	p.want(time.Now().Add(topicLinger), "head", "offers", shard(h.self))
	p.mu.Unlock()
	h.mu.Lock()
	h.present[p] = struct{}{}
	h.mu.Unlock()
	loops := []func(){p.tendTopics, p.tendMember, p.tendRoom, p.tendHeads, p.tendMesh}
	if h.cfg.Signal != Gossip {
		loops = append(loops, p.tendInbox, p.tendPuts)
	}
	for _, loop := range loops {
		p.wg.Go(loop)
	}
	return p
}

// Box is this node's X25519 key of this run, what goes into heads as contact. It is the same in
// every room: who has a link with a node knows by it whether that was started anew.
func (p *Presence) Box() [32]byte { return [32]byte(p.box.PublicKey().Bytes()) }

// Watch says what to listen for: heads (a node without a parent), offers per stream
// (the speaker and head entries). Answers are listened for while an offer is out.
func (p *Presence) Watch(heads bool, offers [][16]byte) {
	streams := make(map[[16]byte]bool, len(offers))
	for _, s := range offers {
		streams[s] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if heads == p.watch && maps.Equal(streams, p.streams) {
		return
	}
	if heads && !p.watch {
		p.heard.restart()
	}
	p.watch, p.streams = heads, streams
	maps.DeleteFunc(p.inbox.duty, func(s [16]byte, _ bool) bool { return !streams[s] })
	p.want(time.Now().Add(topicLinger))
	notify(p.headsKick)
	notify(p.inboxKick)
}

// wanted says whether a topic must be heard: all by those who look for a parent, offers
// also by those who take some. Who has a parent gets heads down the tree; a speaker stays
// with its own, so that volunteers relay them. p.mu is held.
func (p *Presence) wanted(topic string) bool {
	return p.watch || topic == "offers" && len(p.streams) > 0 || topic == "head" && len(p.ours) > 0
}

// want keeps the named topics, and all that are wanted, until then. p.mu is held.
func (p *Presence) want(until time.Time, names ...string) {
	if p.h.cfg.Signal == DHT {
		return
	}
	for n := range p.topics {
		if p.wanted(n) {
			names = append(names, n)
		}
	}
	for _, n := range names {
		u := p.topics[n]
		if until.After(u.until) {
			u.until = until
		}
		if u.sub == nil {
			p.subscribe(n, u)
		}
	}
	notify(p.topicsKick)
}

func (p *Presence) subscribe(name string, u *use) {
	t, err := p.h.join(topicName(u.at))
	if err == nil {
		if u.sub, err = t.Subscribe(pubsub.WithBufferSize(128)); err != nil {
			p.h.release(topicName(u.at))
		}
	}
	if err != nil {
		if p.ctx.Err() == nil {
			p.h.log.Warn("a topic is not heard", "topic", name, "err", err)
		}
		return
	}
	sub := u.sub
	p.wg.Go(func() {
		for {
			m, err := sub.Next(p.ctx)
			if err != nil {
				return // cancelled, or the presence ends
			}
			if r, ok := m.ValidatorData.(record); ok && r.writer != p.h.self {
				p.take(r, Gossip)
			}
		}
	})
}

// tendTopics leaves topics that are no longer wanted.
func (p *Presence) tendTopics() {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, u := range p.topics {
			p.leave(u)
		}
	}()
	for {
		p.mu.Lock()
		now := time.Now()
		for n, u := range p.topics {
			if p.wanted(n) {
				u.until = now.Add(topicLinger)
			}
		}
		wait := time.Minute
		for _, u := range p.topics {
			if u.sub == nil {
				continue
			}
			if left := u.until.Sub(now); left <= 0 {
				p.leave(u)
			} else {
				wait = min(wait, left)
			}
		}
		p.mu.Unlock()
		if !wake(p.ctx, wait, p.topicsKick) {
			return
		}
	}
}

func (p *Presence) leave(u *use) {
	if u.sub != nil {
		u.sub.Cancel()
		u.sub = nil
		p.h.release(topicName(u.at))
	}
}

// wake waits for d or a kick; false when ctx ends.
func wake(ctx context.Context, d time.Duration, kick <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-kick:
	case <-ctx.Done():
		return false
	}
	return true
}

// take handles a record whose envelope was checked, from either carrier.
func (p *Presence) take(r record, via Signal) {
	switch r.kind {
	case kindHead:
		p.takeHead(r, via)
	case kindAsk:
		p.takeAsk(r)
	case kindOffer:
		p.takeOffer(r, via)
	case kindAnswer:
		p.takeAnswer(r, via)
	}
}

// background runs DHT work beside the caller, within the host's bounds and this presence.
func (p *Presence) background(f func(ctx context.Context)) {
	if p.ctx.Err() != nil {
		return
	}
	p.wg.Go(func() {
		err := p.h.pool.do(p.ctx, func() { f(p.ctx) })
		if errors.Is(err, errBusy) {
			p.h.dropped.Add(1)
		}
	})
}

// say publishes a record by gossip, for as long as it is of use.
func (p *Presence) say(at place, rec []byte, life time.Duration) {
	if p.h.cfg.Signal == DHT || p.ctx.Err() != nil {
		return
	}
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, life)
		defer cancel()
		if err := p.h.publish(ctx, at, rec); err != nil && p.ctx.Err() == nil {
			p.h.log.Debug("not said by gossip", "err", err)
		}
	})
}

// tendMember keeps our member record and its listing fresh.
func (p *Presence) tendMember() {
	retry := backoff{first: 100 * time.Millisecond, most: time.Minute}
	for {
		wait := jitter(memberRefresh)
		if err := p.putMember(p.ctx, false); err != nil {
			p.h.awaitTable(p.ctx, time.Minute)
			wait = retry.next()
			if p.ctx.Err() == nil && !errors.Is(err, ErrNotReached) {
				p.h.log.Debug("the member record was not stored", "err", err)
			}
		} else {
			retry.reset()
		}
		if !sleep(p.ctx, wait) {
			return
		}
	}
}

func (p *Presence) putMember(ctx context.Context, left bool) error {
	s, life := &p.room().secret, memberLife
	if left {
		life = time.Second
	}
	h := newHeader(kindMember, p.h.self, p.h.clock.next(), life)
	at := s.place("member")
	rec := h.sign(p.h.key, at, s.seal("member", h, encodeMember(p.me, left)))
	err := p.h.put(ctx, dhtKey(kindMember, p.h.self, at, nil), rec)
	if left {
		return err
	}
	return errors.Join(err, p.h.provide(ctx, s.rendezvous("members", nil, bucketOf(p.h.clock.now(), memberBucket))))
}

// tendMesh looks for members to connect to while nobody we know is in our topics.
func (p *Presence) tendMesh() {
	if p.h.cfg.Signal == DHT {
		return
	}
	wait := backoff{first: time.Second, most: 30 * time.Second}
	for sleep(p.ctx, wait.next()) {
		p.mu.Lock()
		active := p.watch || len(p.streams) > 0
		p.mu.Unlock()
		if !active || len(p.h.ps.ListPeers(topicName(p.topics["offers"].at))) > 0 {
			wait.reset()
			wait.cur = 2 * time.Second
			continue
		}
		now := bucketOf(p.h.clock.now(), memberBucket)
		tries := 0
		for _, b := range []uint64{now, now - 1} {
			found := p.h.providers(p.ctx, p.room().secret.rendezvous("members", nil, b), 16)
			rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
			for _, ai := range found {
				if tries < 4 && p.h.host.Network().Connectedness(ai.ID) != network.Connected {
					tries++
					p.meet(ai)
				}
			}
		}
	}
}

func (p *Presence) meet(ai peer.AddrInfo) {
	p.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if p.h.host.Connect(ctx, ai) == nil {
			p.h.host.ConnManager().Protect(ai.ID, "room")
		}
	})
}

// Heads delivers newer heads of speakers while they are watched: newest first come,
// checked and opened; a slow reader loses the oldest.
func (p *Presence) Heads() <-chan Head { return p.heads }

// Offers delivers offers sealed to our box, once each.
func (p *Presence) Offers() <-chan Offer { return p.offers }

// Answers delivers answers to our offers, once each.
func (p *Presence) Answers() <-chan Answer { return p.answers }

// Leave ends it and waits for its goroutines. It says goodbye to the DHT for at most 0.5 s, and if a
// stream of ours has ended, says so there.
func (p *Presence) Leave() {
	ctx, cancel := context.WithTimeout(p.ctx, goodbye)
	p.mu.Lock()
	heads, renewed := p.liveHeads(time.Now()), p.renewed
	p.mu.Unlock()
	var last sync.WaitGroup
	last.Go(func() { _ = p.putMember(ctx, true) }) // the record would go by itself
	if slices.ContainsFunc(heads, func(h Head) bool { return h.Ended }) && p.h.cfg.Signal != Gossip {
		last.Go(func() { p.putHeads(ctx, false) })
	}
	last.Wait()
	cancel()
	p.cancel()
	p.wg.Wait()
	p.h.mu.Lock()
	if !renewed {
		delete(p.h.rooms, p.room().ID)
	}
	delete(p.h.present, p)
	p.h.mu.Unlock()
}
