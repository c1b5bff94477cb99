package dht

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"

	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	recordlib "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// passwordRoom is a closed room with its speaker, by a volunteer.
func passwordRoom(t *testing.T) (boot, sh *Host, cfg Config, room *Room) {
	boot = loopHost(t, Config{Volunteer: true})
	cfg = Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}}
	sh = loopHost(t, cfg)
	key := newKey(t)
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := LockPassword(id, 1, NewSecret(), []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	room, err = CreateRoom(key, RoomOptions{Name: "secret board", Lock: lock, Speakers: []peer.ID{sh.ID()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.Bootstrapped(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	if err := sh.PutRoom(deadline(t, patience), room); err != nil {
		t.Fatal(err)
	}
	return boot, sh, cfg, room
}

// overheard subscribes h to every topic that the hub relays, and collects what is said.
func overheard(t *testing.T, h, hub *Host) func() [][]byte {
	hub.topicsMu.Lock()
	var names []string
	for name := range hub.topics {
		names = append(names, name)
	}
	hub.topicsMu.Unlock()
	if len(names) == 0 {
		t.Fatal("the hub relays nothing")
	}
	var mu sync.Mutex
	var said [][]byte
	var wg sync.WaitGroup
	for _, name := range names {
		sub := subscribed(t, h, name)
		wg.Go(func() {
			for {
				m, err := sub.Next(t.Context())
				if err != nil {
					return
				}
				mu.Lock()
				said = append(said, m.Data)
				mu.Unlock()
			}
		})
		t.Cleanup(wg.Wait)
		t.Cleanup(sub.Cancel)
	}
	return func() [][]byte {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(said)
	}
}

// join goes a joiner's way and says how long its offer took to reach the speaker.
func join(t *testing.T, cfg Config, room *Room, keys Keys, speaker *Presence, body []byte) time.Duration {
	t.Helper()
	return joinBy(t, loopHost(t, cfg), room, keys, speaker, body)
}

func joinBy(t *testing.T, h *Host, room *Room, keys Keys, speaker *Presence, body []byte) time.Duration {
	t.Helper()
	if err := h.Bootstrapped(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	r, err := h.FetchRoomWith(deadline(t, patience), room.ID, keys)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	p := enter(t, h, r, "listener")
	p.Watch(true, nil)
	head := next(t, "head", p.Heads(), patience)
	if err := p.SendOffer(head.Stream, head.Entries[0].Peer, head.Entries[0].Box, 7, body); err != nil {
		t.Fatal(err)
	}
	for {
		if o := next(t, "offer", speaker.Offers(), patience); o.Joiner == h.ID() {
			break
		}
	}
	return time.Since(start)
}

// An outsider who knows the ID of a closed room, and the volunteer that carries it, hears
// sealed records under names that do not follow from the ID: no room name, no address,
// no offer, no list of members.
func TestOutsider(t *testing.T) {
	boot, sh, cfg, room := passwordRoom(t)
	speaker := enter(t, sh, room, "speaker")
	speak(t, speaker, [16]byte{1})
	keys := Keys{Password: []byte("correct horse")}
	address := []byte("/ip4/192.0.2.7/udp/4001")
	join(t, cfg, room, keys, speaker, address)

	out := loopHost(t, cfg)
	if err := out.Bootstrapped(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	said := overheard(t, out, boot)
	join(t, cfg, room, keys, speaker, address)
	for end := time.Now().Add(patience); len(said()) < 3 && time.Now().Before(end); {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	guess := openSecret(room.key, room.Epoch)
	known := append(said(), room.Record)
	if len(known) < 3 {
		t.Fatalf("only %d records were heard", len(known))
	}
	for _, raw := range known {
		rec, err := parseRecord(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range [][]byte{[]byte("secret board"), address, room.secret[:], []byte("listener")} {
			if bytes.Contains(raw, secret) {
				t.Errorf("a record of kind %d shows %q", rec.kind, secret)
			}
		}
		if rec.kind != kindRoom && bytes.Contains(raw, room.key[:]) {
			t.Errorf("a record of kind %d names the room", rec.kind)
		}
		for _, purpose := range []string{"room", "member", "head", "offer", "ask"} {
			if _, err := guess.open(purpose, rec.header, rec.body); err == nil {
				t.Errorf("a record of kind %d opens with what follows from the ID", rec.kind)
			}
		}
	}
	for _, purpose := range []string{"head", "offers", "member"} {
		if guess.place(purpose) == room.secret.place(purpose) {
			t.Errorf("the place of %s follows from the ID", purpose)
		}
	}
	fake := *room
	fake.secret, fake.Speakers = guess, nil
	if members, err := out.Members(deadline(t, patience), &fake); len(members) > 0 {
		t.Errorf("an outsider lists %d members, %v", len(members), err)
	}
}

// A member that is no speaker says heads of its own: nobody takes them.
func TestImpostor(t *testing.T) {
	_, sh, cfg, room := passwordRoom(t)
	speaker := enter(t, sh, room, "speaker")
	keys := Keys{Password: []byte("correct horse")}
	member := func() *Presence {
		h := loopHost(t, cfg)
		r, err := h.FetchRoomWith(deadline(t, patience), room.ID, keys)
		if err != nil {
			t.Fatal(err)
		}
		return enter(t, h, r, "listener")
	}
	victim, impostor := member(), member()
	victim.Watch(true, nil)
	speak(t, impostor, [16]byte{66})
	speak(t, speaker, [16]byte{1})
	for range 3 { // the impostor speaks as often as the speaker
		if h := next(t, "head", victim.Heads(), patience); h.Speaker != sh.ID() {
			t.Fatalf("a head of %s is taken", h.Speaker)
		}
	}
}

// putRaw stores what no validator of ours has seen.
func putRaw(t *testing.T, h *Host, at peer.ID, key string, value []byte) {
	t.Helper()
	// The server answers what it has stored, and resets the stream otherwise.
	m := dhtpb.NewMessage(dhtpb.Message_PUT_VALUE, []byte(key), 0)
	m.Record = recordlib.MakePutRecord(key, value)
	if _, err := newSender(h.host, []protocol.ID{kadProto}).SendRequest(t.Context(), at, m); err == nil {
		t.Errorf("the server stored %d bytes under %s", len(value), key)
	}
}

// A spoiler puts junk, oversized, foreign and old records in place of a room's.
func TestSpoiler(t *testing.T) {
	boot, _, cfg, room := passwordRoom(t)
	spoiler := loopHost(t, cfg)
	if err := spoiler.Bootstrapped(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	key := dhtKey(kindRoom, room.key, place{}, nil)
	changed := slices.Clone(room.Record)
	changed[len(changed)/2] ^= 1
	for _, value := range [][]byte{
		nil, []byte("junk"), changed, make([]byte, 20<<10), append(slices.Clone(room.Record), 0),
		newHeader(kindRoom, spoiler.self, spoiler.clock.next(), roomLife).sign(spoiler.key, place{}, []byte("mine")),
		newHeader(kindRoom, room.key, spoiler.clock.next(), roomLife).sign(spoiler.key, place{}, []byte("mine")),
	} {
		putRaw(t, spoiler, boot.ID(), key, value)
	}
	wraps := newHeader(kindWraps, spoiler.self, spoiler.clock.next(), roomLife).sign(spoiler.key, place{1}, []byte("chunk"))
	putRaw(t, spoiler, boot.ID(), dhtKey(kindWraps, spoiler.self, place{1}, nil), wraps)
	r, err := spoiler.FetchRoomWith(deadline(t, patience), room.ID, Keys{Password: []byte("correct horse")})
	if err != nil || r.Name != "secret board" {
		t.Errorf("after the spoiler the room is %+v, %v", r, err)
	}
}

// A flood of offers by ever new writers, 1,000 a second, does not keep a joiner out.
func TestOfferFlood(t *testing.T) {
	_, sh, cfg, room := passwordRoom(t)
	speaker := enter(t, sh, room, "speaker")
	speak(t, speaker, [16]byte{1})
	keys := Keys{Password: []byte("correct horse")}
	join(t, cfg, room, keys, speaker, nil) // warms up what is shared
	calm := join(t, cfg, room, keys, speaker, nil)
	flooder := loopHost(t, cfg)
	if err := flooder.Bootstrapped(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	at := room.secret.place("offers")
	const high = 500 // offers, then the water is high
	stop, begun, done := make(chan struct{}), make(chan struct{}), make(chan int)
	go func() {
		said := 0
		defer func() { done <- said }()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			for range 10 {
				pub, key, err := ed25519.GenerateKey(rand.Reader)
				if err != nil {
					return
				}
				h := newHeader(kindOffer, pubKey(pub), flooder.clock.next(), offerLife)
				if flooder.publish(t.Context(), at, h.sign(key, at, make([]byte, 300))) == nil {
					if said++; said == high {
						close(begun)
					}
				}
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("there is no flood")
	}
	var worst time.Duration
	for range 3 {
		worst = max(worst, join(t, cfg, room, keys, speaker, nil))
	}
	close(stop)
	said := <-done
	t.Logf("offer at the speaker after %v in calm, %v at most in a flood of %d", calm, worst, said)
}
