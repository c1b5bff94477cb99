package dht

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// topicPrefix begins every topic of ours; 22 characters of base64url follow, which say
// nothing to outsiders.
const topicPrefix = "/wf/1/"

func topicName(at place) string { return topicPrefix + b64.EncodeToString(at[:]) }

func parseTopic(name string) (at place, ok bool) {
	s, ours := strings.CutPrefix(name, topicPrefix)
	b, ok := decode64(s)
	if !ours || !ok || len(b) != len(at) {
		return at, false
	}
	return place(b), true
}

// gossip is a host's gossipsub: the topics in use and who subscribes to what.
type gossip struct {
	ps      *pubsub.PubSub
	book    *book
	dropped atomic.Uint64

	topicsMu sync.Mutex // guards topics
	topics   map[string]*joined

	byPeer   *limiters[peer.ID]
	byBoot   *limiters[peer.ID]
	byWriter *limiters[pubKey]
}

// joined is a topic handle, of which gossipsub allows one, and its users.
type joined struct {
	*pubsub.Topic
	users int
}

func (h *Host) startGossip() (err error) {
	h.topics = map[string]*joined{}
	h.byPeer = newLimiters[peer.ID](peerRate, peerBurst)
	h.byBoot = newLimiters[peer.ID](bootRate, bootBurst)
	h.byWriter = newLimiters[pubKey](writerRate, writerBurst)
	relays := h.cfg.Volunteer || len(h.cfg.Bootstrap) == 0
	h.book = newBook(h.host, relays)
	params := pubsub.DefaultGossipSubParams()
	// Few hear the topics (DESIGN 3), and hubs send to all of them: the mesh is the second way.
	params.D, params.Dlo, params.Dhi, params.Dscore, params.Dout, params.Dlazy = 4, 3, 8, 3, 1, 4
	features := pubsub.GossipSubDefaultFeatures
	if relays {
		// With the defaults members that all hang on two hubs lose 15–18%: most are pruned.
		params.D, params.Dlo, params.Dhi, params.Dscore, params.Dout = 64, 32, 512, 32, 8
		// A hub sends to all its subscribers, in its mesh or not: a joiner need not wait
		// for a heartbeat to be grafted, nor an orphan for the back-off (a minute, at worst)
		// after it left the topic.
		features = func(f pubsub.GossipSubFeature, p protocol.ID) bool {
			return f != pubsub.GossipSubFeatureMesh && pubsub.GossipSubDefaultFeatures(f, p)
		}
	}
	h.ps, err = pubsub.NewGossipSub(h.ctx, h.host, append(slices.Clone(h.cfg.Gossip),
		pubsub.WithGossipSubParams(params),
		pubsub.WithGossipSubProtocols(pubsub.GossipSubDefaultProtocols, features),
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerExchange(false), // makes connection storms
		// Records carry their writer's signature; gossipsub's own would name who publishes.
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(m *pb.Message) string {
			sum := sha256.Sum256(m.Data)
			return string(sum[:20])
		}),
		pubsub.WithMaxMessageSize(maxRPC),
		pubsub.WithPeerOutboundQueueSize(512),
		pubsub.WithValidateQueueSize(1024),
		pubsub.WithSubscriptionFilter(h.book),
		pubsub.WithPeerScore(scores()),
		pubsub.WithDefaultValidator(pubsub.ValidatorEx(h.validate)),
	)...)
	if err != nil {
		return err
	}
	if relays {
		h.host.SetStreamHandler(relayProto, resetStream)
		h.wg.Go(func() { h.relay() })
	}
	return nil
}

// validate is what every node checks before it passes a message on.
func (h *Host) validate(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	at, ok := parseTopic(m.GetTopic())
	if !ok {
		return pubsub.ValidationReject
	}
	r, verdict := h.admit(from, at, m.Data)
	m.ValidatorData = r
	return verdict
}

// admit checks what a neighbour brings for a place, and whether that is not too much.
func (h *Host) admit(from peer.ID, at place, data []byte) (r record, _ pubsub.ValidationResult) {
	if len(data) > maxMessage {
		return r, pubsub.ValidationReject
	}
	r, err := parseRecord(data)
	if err != nil || r.kind < kindHead || r.kind > kindAsk || r.timely(h.clock.now()) != nil {
		return r, pubsub.ValidationReject
	}
	if from != h.host.ID() {
		// Answers have a writer of their own each: only their bearer can be held back.
		neighbours := h.byPeer
		if slices.ContainsFunc(h.cfg.Bootstrap, func(b peer.AddrInfo) bool { return b.ID == from }) {
			neighbours = h.byBoot
		}
		if !neighbours.allow(from) || r.kind != kindAnswer && !h.byWriter.allow(r.writer) {
			h.dropped.Add(1)
			return r, pubsub.ValidationIgnore
		}
	}
	if r.verify(at) != nil {
		return r, pubsub.ValidationReject
	}
	return r, pubsub.ValidationAccept
}

// join gives the handle of a topic; call release when done with it.
func (h *Host) join(name string) (*pubsub.Topic, error) {
	h.topicsMu.Lock()
	defer h.topicsMu.Unlock()
	j := h.topics[name]
	if j == nil {
		t, err := h.ps.Join(name)
		if err == nil {
			err = t.SetScoreParams(topicScores())
		}
		if err != nil {
			return nil, fmt.Errorf("joining a topic: %w", err)
		}
		j = &joined{Topic: t}
		h.topics[name] = j
	}
	j.users++
	return j.Topic, nil
}

func (h *Host) release(name string) {
	h.topicsMu.Lock()
	defer h.topicsMu.Unlock()
	if j := h.topics[name]; j != nil {
		j.users--
	}
	// A topic can be closed only after gossipsub has seen its last subscription off,
	// which may be later: so each release looks at all.
	for n, j := range h.topics {
		if j.users == 0 && j.Close() == nil {
			delete(h.topics, n)
		}
	}
}

var errNobody = errors.New("nobody was there to hear it")

// publish says data on a topic. If no peer is in the topic yet it waits for one, until
// ctx ends, and relays the topic meanwhile: so volunteers learn of it.
func (h *Host) publish(ctx context.Context, at place, data []byte) error {
	name := topicName(at)
	t, err := h.join(name)
	if err != nil {
		return err
	}
	defer h.release(name)
	if len(t.ListPeers()) == 0 {
		if err := h.awaitPeer(ctx, t); err != nil {
			h.dropped.Add(1)
			return errNobody
		}
	}
	if err := t.Publish(ctx, data); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

// awaitPeer waits for a peer in the topic.
func (h *Host) awaitPeer(ctx context.Context, t *pubsub.Topic) error {
	stop, err := t.Relay()
	if err != nil {
		return err
	}
	defer stop()
	ev, err := t.EventHandler()
	if err != nil {
		return err
	}
	defer ev.Cancel()
	for {
		e, err := ev.NextPeerEvent(ctx)
		if err != nil || e.Type == pubsub.PeerJoin {
			return err
		}
	}
}

// book notes who subscribes to which topic of ours; gossipsub hears of no other. It is
// gossipsub's subscription filter, so it is asked before gossipsub keeps anything.
type book struct {
	host  host.Host
	learn chan string // topics to relay; nil: we don't

	mu sync.Mutex
	by map[peer.ID]map[string]bool // the value: learnt from this peer
}

const (
	peerTopics  = 8    // a peer may make us relay
	knownTopics = 1024 // of a peer that is no volunteer
	maxTopics   = 5000 // relayed at most
)

func newBook(h host.Host, learn bool) *book {
	b := &book{host: h, by: map[peer.ID]map[string]bool{}}
	if learn {
		b.learn = make(chan string, 1024)
	}
	return b
}

// CanSubscribe implements pubsub.SubscriptionFilter.
func (b *book) CanSubscribe(topic string) bool { _, ok := parseTopic(topic); return ok }

// FilterIncomingSubscriptions implements pubsub.SubscriptionFilter.
func (b *book) FilterIncomingSubscriptions(from peer.ID, subs []*pb.RPC_SubOpts) ([]*pb.RPC_SubOpts, error) {
	most, learnable := knownTopics, b.learn != nil
	if b.isRelay(from) {
		most, learnable = 2*maxTopics, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.by[from]
	learnt := 0
	for _, l := range known {
		if l {
			learnt++
		}
	}
	var out []*pb.RPC_SubOpts
	for _, s := range subs {
		name := s.GetTopicid()
		if !b.CanSubscribe(name) {
			continue
		}
		if !s.GetSubscribe() {
			if known[name] {
				learnt--
			}
			delete(known, name)
			out = append(out, s)
			continue
		}
		if _, again := known[name]; !again && len(known) >= most {
			continue
		}
		if known == nil {
			known = map[string]bool{}
			b.by[from] = known
		}
		if learnable && !known[name] && learnt < peerTopics {
			select {
			case b.learn <- name:
				known[name] = true
				learnt++
			default: // the relay is busy; the peer's next subscription tries again
			}
		}
		if _, again := known[name]; !again {
			known[name] = false
		}
		out = append(out, s)
	}
	return out, nil
}

func (b *book) isRelay(p peer.ID) bool {
	s, err := b.host.Peerstore().SupportsProtocols(p, relayProto)
	return err == nil && len(s) > 0
}

// forget drops a peer that is gone.
func (b *book) forget(p peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.by, p)
}

// wanted are the topics that peers other than volunteers subscribe to at first hand:
// volunteers that hear of a topic only from each other must not keep it alive.
func (b *book) wanted() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := map[string]bool{}
	for p, topics := range b.by {
		if b.isRelay(p) {
			continue
		}
		for t, learnt := range topics {
			if learnt {
				w[t] = true
			}
		}
	}
	return w
}
