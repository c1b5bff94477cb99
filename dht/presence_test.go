package dht

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestHeadBook(t *testing.T) {
	b := newHeadBook()
	now := then
	h := func(stream byte, speaker peer.ID, seq uint64) bool {
		now = now.Add(time.Second)
		return b.newer(Head{Stream: [16]byte{stream}, Speaker: speaker, Seq: seq}, now)
	}
	for i, c := range []struct {
		stream  byte
		speaker peer.ID
		seq     uint64
		want    bool
	}{
		{1, "a", 5, true}, {1, "a", 5, false}, {1, "a", 4, false}, {1, "a", 6, true},
		{1, "b", 9, false}, // another speaker can't take over a stream
		{2, "b", 0, true}, {2, "b", 0, false},
	} {
		if got := h(c.stream, c.speaker, c.seq); got != c.want {
			t.Errorf("head %d: newer %v", i, got)
		}
	}
	for i := range 10 * maxHeard {
		b.newer(Head{Stream: [16]byte{9, byte(i), byte(i >> 8)}}, now.Add(time.Duration(i)))
		b.clock([16]byte{9, byte(i), byte(i >> 8)}, 0, Gossip)
	}
	if len(b.newest) > maxHeard || len(b.offset) > maxHeard {
		t.Errorf("%d streams and %d clocks are remembered", len(b.newest), len(b.offset))
	}
}

func TestHeadClock(t *testing.T) {
	b := newHeadBook()
	s := [16]byte{1}
	for i, c := range []struct {
		off, want time.Duration
		via       Signal
	}{
		{-8, -8, DHT}, {-12, -8, DHT}, {-3, -3, DHT}, // old heads make the clock look slow
		{-5, -5, Gossip}, {-9, -5, DHT}, {-2, -2, DHT},
	} {
		if b.clock(s, c.off, c.via); b.offset[s] != c.want {
			t.Errorf("%d: the speaker's clock is %d ahead, want %d", i, b.offset[s], c.want)
		}
	}
}

func TestInbox(t *testing.T) {
	b := newInbox()
	now := then
	id := offerID{"j", [16]byte{1}, 1}
	if !b.first(id, now) || b.first(id, now) {
		t.Error("an offer is taken twice")
	}
	for i := range 3 * maxSeen {
		b.first(offerID{"k", [16]byte{}, uint64(i)}, now)
		b.due(slot{peer.ID([]byte{byte(i), byte(i >> 8)}), [16]byte{}}, now)
		b.hears(pubKey{byte(i), byte(i >> 8)}, now)
	}
	if len(b.seen) > maxSeen || len(b.joiners) > maxSeen || len(b.heard) > maxSeen {
		t.Errorf("%d offers, %d joiners and %d heard by gossip are remembered", len(b.seen), len(b.joiners), len(b.heard))
	}
	b.hears(pubKey{1}, now)
	if !b.gossips(pubKey{1}, now.Add(inboxBucket)) || b.gossips(pubKey{1}, now.Add(3*inboxBucket)) || b.gossips(pubKey{2, 2, 2}, now) {
		t.Error("who is heard by gossip is not to be looked at while it is listed, and only then")
	}

	b = newInbox()
	s := slot{"j", [16]byte{1}}
	looks := 0
	for range 300 { // a minute
		now = now.Add(200 * time.Millisecond)
		if b.due(s, now) {
			looks++
		}
	}
	if most := int(time.Minute/inboxAgain) * 2; looks > most {
		t.Errorf("a silent joiner is looked at %d times a minute", looks)
	}
	if !b.due(s, now.Add(10*time.Second)) || b.due(s, now.Add(10*time.Second)) {
		t.Error("looks are not spaced")
	}
	if b.found(s, 1); !b.due(s, now.Add(10*time.Second)) {
		t.Error("a joiner that offers is not looked at again at once")
	}
}

func TestPushOldest(t *testing.T) {
	c := make(chan int, 3)
	dropped := 0
	for i := range 10 {
		if pushOldest(c, i) {
			dropped++
		}
	}
	if dropped != 7 || <-c != 7 || <-c != 8 || <-c != 9 {
		t.Errorf("%d dropped", dropped)
	}
}

func TestLimiters(t *testing.T) {
	l := newLimiters[int](1, 5)
	allowed := 0
	for range 100 {
		if l.allow(1) {
			allowed++
		}
	}
	if allowed < 5 || allowed > 6 {
		t.Errorf("%d of a burst are allowed, want 5", allowed)
	}
	if !l.allow(2) {
		t.Error("one writer's burst holds another back")
	}
	for i := range 2 * maxLimiters {
		l.allow(i)
	}
	if len(l.by) > maxLimiters {
		t.Errorf("%d writers are remembered", len(l.by))
	}
}

// While gossip works three nodes look into the inbox, whatever the room's size; who has
// only the DHT must ask one of them.
func TestLookers(t *testing.T) {
	h := Head{Speaker: "speaker", Entries: []HeadEntry{{Peer: "a"}, {Peer: "b"}, {Peer: "c"}, {Peer: "speaker"}, {Peer: "d"}}}
	names := func(list []HeadEntry) (s string) {
		for _, e := range list {
			s += string(e.Peer) + " "
		}
		return s
	}
	if got := names(lookers(h.Entries)) + "/ " + names(byDHT(h)); got != "a b / a b speaker " {
		t.Error(got)
	}
	h.Entries = h.Entries[3:4]
	if got := names(lookers(h.Entries)) + "/ " + names(byDHT(h)); got != "speaker / speaker " {
		t.Error(got)
	}
}
