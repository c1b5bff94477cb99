package dht

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

var then = time.UnixMilli(1_767_225_600_000) // 2026-01-01, the time of test records

// actor is somebody with keys that are the same in every run.
type actor struct {
	key ed25519.PrivateKey
	pub pubKey
	box *ecdh.PrivateKey
}

func newActor(name string) actor {
	seed := sha256.Sum256([]byte("waterfall test " + name))
	key := ed25519.NewKeyFromSeed(seed[:])
	boxSeed := sha256.Sum256(seed[:])
	box, err := ecdh.X25519().NewPrivateKey(boxSeed[:])
	if err != nil {
		panic(err)
	}
	return actor{key, publicOf(key), box}
}

func (a actor) boxPub() [32]byte { return [32]byte(a.box.PublicKey().Bytes()) }

func (a actor) libp2p(t testing.TB) crypto.PrivKey {
	t.Helper()
	k, err := crypto.UnmarshalEd25519PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testRoom(t testing.TB, o RoomOptions) *Room {
	t.Helper()
	o.Now = then
	key := newActor("room").libp2p(t)
	ed, err := edKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ed, newActor("room").key) {
		t.Fatal("the key changed on its way")
	}
	r, err := CreateRoom(key, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestIDs(t *testing.T) {
	a := newActor("a")
	want, err := peer.IDFromPrivateKey(a.libp2p(t))
	if err != nil {
		t.Fatal(err)
	}
	if a.pub.ID() != want {
		t.Errorf("ID %s, libp2p says %s", a.pub.ID(), want)
	}
	if k, ok := keyOf(want); !ok || k != a.pub {
		t.Error("the key does not come back out of the ID")
	}
	for _, bad := range []peer.ID{"", "x", peer.ID(strings.Repeat("x", 38)), want[:37], want + "x"} {
		if _, ok := keyOf(bad); ok {
			t.Errorf("%q passes for an Ed25519 ID", string(bad))
		}
	}
}

// record signed by who, with anything about it wrong that mod makes wrong.
func signedRecord(who actor, k kind, at place, seq uint64, life time.Duration, body []byte) []byte {
	return newHeader(k, who.pub, seq, life).sign(who.key, at, body)
}

func TestRecordCheck(t *testing.T) {
	a, b := newActor("a"), newActor("b")
	here := place{1}
	ms := uint64(then.UnixMilli())
	hours := func(h int) uint64 { return uint64(then.Add(time.Duration(h) * time.Hour).UnixMilli()) }
	good := signedRecord(a, kindHead, here, ms, 30*time.Second, []byte("body"))
	edit := func(f func(rec []byte) []byte) []byte { return f(slices.Clone(good)) }
	for _, c := range []struct {
		name string
		rec  []byte
		ok   bool
	}{
		{"good", good, true},
		{"no body", signedRecord(a, kindHead, here, ms, 30*time.Second, nil), true},
		{"a clock an hour slow", signedRecord(a, kindHead, here, hours(-1), 30*time.Second, nil), true},
		{"a clock an hour fast", signedRecord(a, kindHead, here, hours(1), 30*time.Second, nil), true},
		{"two days old", signedRecord(a, kindHead, here, hours(-48), 30*time.Second, nil), false},
		{"two days ahead", signedRecord(a, kindHead, here, hours(48), 30*time.Second, nil), false},
		{"seq out of range", signedRecord(a, kindHead, here, 1<<63, 30*time.Second, nil), false},
		{"no life", signedRecord(a, kindHead, here, ms, 0, nil), false},
		{"too long a life", signedRecord(a, kindHead, here, ms, 31*time.Second, nil), false},
		{"too big", signedRecord(a, kindHead, here, ms, 30*time.Second, make([]byte, maxMessage)), false},
		{"other kind", signedRecord(a, kindOffer, here, ms, 30*time.Second, nil), false},
		{"unknown kind", signedRecord(a, 99, here, ms, 30*time.Second, nil), false},
		{"elsewhere", signedRecord(a, kindHead, place{2}, ms, 30*time.Second, nil), false},
		{"wrong writer", edit(func(r []byte) []byte { copy(r[2:], b.pub[:]); return r }), false},
		{"older seq", edit(func(r []byte) []byte { r[41]--; return r }), false},
		{"longer life", edit(func(r []byte) []byte { r[45]--; return r }), false},
		{"tampered body", edit(func(r []byte) []byte { r[headerSize]++; return r }), false},
		{"tampered signature", edit(func(r []byte) []byte { r[len(r)-1]++; return r }), false},
		{"other version", edit(func(r []byte) []byte { r[0]++; return r }), false},
		{"cut", good[:len(good)-1], false},
		{"longer", append(slices.Clone(good), 0), false},
		{"empty", nil, false},
	} {
		_, err := check(c.rec, kindHead, here, then)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestValidator: what a DHT server stores and replaces.
func TestValidator(t *testing.T) {
	a, b := newActor("a"), newActor("b")
	at := place{7}
	v := validator{func() time.Time { return then }}
	ms := uint64(then.UnixMilli())
	rec := func(who actor, seq uint64) []byte {
		return signedRecord(who, kindMember, at, seq, time.Minute, nil)
	}
	key := dhtKey(kindMember, a.pub, at, nil)
	if err := v.Validate(key, rec(a, ms)); err != nil {
		t.Error(err)
	}
	for name, k := range map[string]string{
		"another's key":     dhtKey(kindMember, b.pub, at, nil),
		"another place":     dhtKey(kindMember, a.pub, place{8}, nil),
		"another kind":      dhtKey(kindHead, a.pub, at, nil),
		"a room's key":      dhtKey(kindRoom, a.pub, place{}, nil),
		"another space":     strings.Replace(key, "/waterfall/", "/pk/", 1),
		"no writer":         "/waterfall/member//" + b64.EncodeToString(at[:]),
		"no place":          "/waterfall/member/" + b64.EncodeToString(a.pub[:]),
		"an empty slot":     key + "/",
		"too long a slot":   dhtKey(kindMember, a.pub, at, make([]byte, 17)),
		"too many parts":    key + "/aaaa/aaaa",
		"an ask":            strings.Replace(key, "/member/", "/ask/", 1),
		"padding in base64": key + "=",
		"a line break":      key + "\n",
		"empty":             "",
	} {
		if v.Validate(k, rec(a, ms)) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := v.Validate(dhtKey(kindMember, a.pub, at, []byte("slot")), rec(a, ms)); err != nil {
		t.Errorf("with a slot: %v", err)
	}
	for _, c := range []struct {
		values [][]byte
		want   int
	}{
		{[][]byte{rec(a, ms), rec(a, ms+1)}, 1},
		{[][]byte{rec(a, ms+1), rec(a, ms)}, 0},
		{[][]byte{rec(a, ms), rec(a, ms)}, 0},
		{[][]byte{[]byte("junk"), rec(a, ms)}, 1},
		{[][]byte{[]byte("junk")}, -1},
	} {
		got, err := v.Select(key, c.values)
		if err != nil {
			got = -1
		}
		if got != c.want {
			t.Errorf("of %d values number %d is taken, want %d", len(c.values), got, c.want)
		}
	}
}

func TestRoom(t *testing.T) {
	speaker := newActor("speaker").pub.ID()
	o := RoomOptions{Name: "Küche", Speakers: []peer.ID{speaker}}
	r := testRoom(t, o)
	got, err := openRoom(t.Context(), r.ID, r.Record, then, Keys{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != o.Name || got.Epoch != 1 || got.Admission != Open || got.AnyoneSpeaks || !got.MaySpeak(speaker) || got.MaySpeak(r.ID) {
		t.Errorf("opened as %+v", got)
	}
	if got.MediaKey([16]byte{1}) != r.MediaKey([16]byte{1}) || got.MediaKey([16]byte{1}) == got.MediaKey([16]byte{2}) {
		t.Error("media keys are wrong")
	}
	if bytes.Contains(r.Record, []byte("che")) {
		t.Error("the name is readable in the record")
	}
	if _, err := openRoom(t.Context(), newActor("x").pub.ID(), r.Record, then, Keys{}, nil); err == nil {
		t.Error("the record opens as another room's")
	}
	if _, err := openRoom(t.Context(), r.ID, r.Record, then.Add(40*24*time.Hour), Keys{}, nil); err == nil {
		t.Error("the record opens 40 days later")
	}
	// A closed room's record is recognised, though not opened.
	key := newActor("room")
	h := newHeader(kindRoom, key.pub, uint64(then.UnixMilli()), roomLife)
	closed := h.sign(key.key, place{}, []byte{roomVersion, 1, 0, 1, 0, 0})
	if _, err := openRoom(t.Context(), r.ID, closed, then, Keys{}, nil); !errors.Is(err, ErrClosedRoom) {
		t.Errorf("a closed room: %v", err)
	}
	full := make([]peer.ID, maxSpeakers)
	for i := range full {
		full[i] = newActor(fmt.Sprint(i)).pub.ID()
	}
	most := testRoom(t, RoomOptions{Name: strings.Repeat("n", maxName), Speakers: full})
	if len(most.Record) > 16<<10 {
		t.Errorf("the largest room record has %d bytes", len(most.Record))
	}
	for name, bad := range map[string]RoomOptions{
		"long name":     {Name: strings.Repeat("n", maxName+1)},
		"no UTF-8":      {Name: "\xff"},
		"many speakers": {Speakers: append(full, speaker)},
		"odd speaker":   {Speakers: []peer.ID{"Qm"}},
	} {
		if _, err := CreateRoom(key.libp2p(t), bad); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestMemberRecord(t *testing.T) {
	m := Member{Peer: newActor("a").pub.ID(), Name: "Zoë", Since: time.Unix(then.Unix(), 0), Roles: []string{"speaker"}}
	got, left, err := decodeMember(m.Peer, encodeMember(m, false))
	if err != nil || left || got.Name != m.Name || !got.Since.Equal(m.Since) || !slices.Equal(got.Roles, m.Roles) {
		t.Errorf("%+v, %v, %v", got, left, err)
	}
	if _, left, _ := decodeMember(m.Peer, encodeMember(m, true)); !left {
		t.Error("a goodbye is not seen")
	}
	m.Name = strings.Repeat("é", 100)
	if got, _, err := decodeMember(m.Peer, encodeMember(m, false)); err != nil || got.Name != strings.Repeat("é", 32) {
		t.Errorf("a long name becomes %q, %v", got.Name, err)
	}
}

func fullHead(stream byte, entries int) Head {
	h := Head{Stream: [16]byte{stream}, Speaker: newActor("speaker").pub.ID(), Seq: 9, Free: 1 << 31}
	for i := range entries {
		a := newActor(fmt.Sprint("entry", i))
		h.Entries = append(h.Entries, HeadEntry{a.pub.ID(), a.boxPub(), 1, 2, uint32(i)})
	}
	for i := range maxHeadLayers {
		h.Layers = append(h.Layers, uint32(i))
	}
	return h
}

func TestHeadRecord(t *testing.T) {
	one := fullHead(1, maxHeadEntries)
	one.Ended = true
	got, err := decodeHeads(one.Speaker, encodeHeads(one))
	if err != nil || len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(one) {
		t.Errorf("%v, %v", got, err)
	}
	over := fullHead(1, maxHeadEntries+4)
	over.Entries[0].Peer = "not Ed25519"
	if got, err := decodeHeads(one.Speaker, encodeHeads(over)); err != nil || len(got[0].Entries) != maxHeadEntries {
		t.Errorf("too many entries: %v, %v", got, err)
	}
	// Whatever the number of streams, the record fits.
	var many []Head
	for i := range maxHeads + 1 {
		many = append(many, fullHead(byte(i), maxHeadEntries))
		b := encodeHeads(many...)
		if size := recordMin + sealCost + len(b); size > maxMessage {
			t.Errorf("%d heads make a record of %d bytes", len(many), size)
		}
		if got, err := decodeHeads(one.Speaker, b); err != nil || len(got) != min(len(many), maxHeads) {
			t.Errorf("%d heads come back as %d, %v", len(many), len(got), err)
		}
	}
}

// TestOfferSize: DESIGN asks for ≤ 450 bytes sealed, with 230 of body.
func TestOfferSize(t *testing.T) {
	room := testRoom(t, RoomOptions{AnyoneSpeaks: true})
	j, e := newActor("joiner"), newActor("entry")
	rec, content, err := sealOffer(&room.secret, j.key, j.box, uint64(then.UnixMilli()), [16]byte{1}, e.boxPub(), 1, make([]byte, 230))
	if err != nil {
		t.Fatal(err)
	}
	if len(rec) > 450 {
		t.Errorf("an offer with a body of 230 bytes has %d", len(rec))
	}
	t.Logf("offer with 230 bytes of body: %d; handed down: %d", len(rec), len(content)+len(rec))
	r, err := check(rec, kindOffer, room.secret.place("offers"), then)
	if err != nil {
		t.Fatal(err)
	}
	o, err := openOffer(&room.secret, r, e.box, nil)
	if err != nil {
		t.Fatal(err)
	}
	ans, err := sealAnswer(&room.secret, e.key, e.box, uint64(then.UnixMilli()), o, make([]byte, 230))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("answer with 230 bytes of body: %d", len(ans))
	for _, n := range []int{maxOfferBody, maxOfferBody + 1} {
		rec, _, err := sealOffer(&room.secret, j.key, j.box, uint64(then.UnixMilli()), [16]byte{1}, e.boxPub(), 1, make([]byte, n))
		if err == nil {
			_, err = parseRecord(rec)
		}
		if (err == nil) != (n == maxOfferBody) {
			t.Errorf("a body of %d bytes: %v", n, err)
		}
	}
	for _, n := range []int{maxAnswer, maxAnswer + 1} {
		rec, err := sealAnswer(&room.secret, e.key, e.box, uint64(then.UnixMilli()), o, make([]byte, n))
		if err == nil {
			_, err = parseRecord(rec)
		}
		if (err == nil) != (n == maxAnswer) {
			t.Errorf("an answer of %d bytes: %v", n, err)
		}
	}
}

// TestOfferAnswer: who can read and write what on the way of an offer.
func TestOfferAnswer(t *testing.T) {
	room := testRoom(t, RoomOptions{AnyoneSpeaks: true})
	s := &room.secret
	j, e, low, other := newActor("joiner"), newActor("entry"), newActor("below"), newActor("other")
	stream, seq := [16]byte{5}, uint64(then.UnixMilli())
	raw, _, err := sealOffer(s, j.key, j.box, seq, stream, e.boxPub(), 77, []byte("my address"))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := check(raw, kindOffer, s.place("offers"), then)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openOffer(s, rec, other.box, nil); !errors.Is(err, errNotForUs) {
		t.Errorf("another entry opens it: %v", err)
	}
	outside := openSecret(other.pub, 1)
	if _, err := openOffer(&outside, rec, e.box, nil); err == nil {
		t.Error("a node outside the room opens it")
	}
	at, err := openOffer(s, rec, e.box, nil)
	if err != nil || string(at.Body) != "my address" || at.ID != 77 || at.Stream != stream || at.Joiner != j.pub.ID() || at.Box != j.boxPub() {
		t.Fatalf("the entry opens %+v, %v", at, err)
	}
	// Handed down, it still proves who wrote it.
	below, err := parseForwarded(s, at.Forward(), then)
	if err != nil || string(below.Body) != "my address" || below.Joiner != j.pub.ID() || below.Box != j.boxPub() || below.ID != 77 {
		t.Fatalf("below it opens as %+v, %v", below, err)
	}
	for i := range at.Forward() {
		b := at.Forward()
		b[i] ^= 1
		if _, err := parseForwarded(s, b, then); err == nil {
			t.Fatalf("byte %d of a forwarded offer can be changed", i)
		}
	}
	raw, err = sealAnswer(s, low.key, low.box, seq, below, []byte("come"))
	if err != nil {
		t.Fatal(err)
	}
	arec, err := check(raw, kindAnswer, s.place(shard(j.pub)), then)
	if err != nil {
		t.Fatal(err)
	}
	if _, content, _ := sealOffer(s, j.key, j.box, seq, stream, e.boxPub(), 77, nil); arec.writer != publicOf(answerKey(content)) {
		t.Error("the joiner does not know where its answer will be")
	}
	a, err := openAnswer(arec, j.box, stream, 77)
	if err != nil || a.From != low.pub.ID() || string(a.Body) != "come" {
		t.Fatalf("the answer opens as %+v, %v", a, err)
	}
	if _, err := openAnswer(arec, e.box, stream, 77); !errors.Is(err, errNotForUs) {
		t.Errorf("the entry reads the answer: %v", err)
	}
	if _, err := openAnswer(arec, j.box, stream, 78); err == nil {
		t.Error("the answer passes for one to another offer")
	}
	if _, err := openAnswer(arec, j.box, [16]byte{6}, 77); err == nil {
		t.Error("the answer passes for one in another stream")
	}
}

// TestSecrets: nothing that outsiders see is the same in two rooms or epochs.
func TestSecrets(t *testing.T) {
	a, b := newActor("a").pub, newActor("b").pub
	seen := map[string]bool{}
	for _, s := range []secret{openSecret(a, 1), openSecret(a, 2), openSecret(b, 1)} {
		for _, v := range [][]byte{s[:], s.key("head"), s.key("offer"), s.name("head"), s.name("offers"), s.rendezvous("members", nil, 1).Bytes(), s.rendezvous("members", nil, 2).Bytes()} {
			if seen[string(v)] {
				t.Fatal("two names or keys are the same")
			}
			seen[string(v)] = true
		}
	}
}

// FuzzRecord: no bytes panic any step from the network to the reader, and what is
// accepted is signed.
func FuzzRecord(f *testing.F) {
	room := testRoom(f, RoomOptions{Name: "fuzz", AnyoneSpeaks: true})
	s := &room.secret
	j, e := newActor("joiner"), newActor("entry")
	seq := uint64(then.UnixMilli())
	f.Add(room.Record)
	h := newHeader(kindHead, e.pub, seq, headLife)
	f.Add(h.sign(e.key, s.place("head"), s.seal("head", h, encodeHeads(fullHead(1, 2)))))
	h = newHeader(kindMember, e.pub, seq, memberLife)
	f.Add(h.sign(e.key, s.place("member"), s.seal("member", h, encodeMember(Member{Name: "m"}, false))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := parseRecord(b)
		if err != nil {
			return
		}
		for _, at := range []place{{}, s.place("head"), s.place("member"), s.place("offers"), s.place(shard(j.pub))} {
			if rec.verify(at) == nil {
				if again := append(slices.Clone(rec.header[:]), rec.body...); !bytes.HasPrefix(b, again) {
					t.Fatal("what was parsed is not what was signed")
				}
			}
		}
		_, _ = openRoom(t.Context(), room.ID, b, then, Keys{}, nil)
		_, _ = openOffer(s, rec, e.box, nil)
		_, _ = openOffer(s, rec, nil, make([]byte, keySize))
		_, _ = openAnswer(rec, j.box, [16]byte{}, 0)
		_, _ = s.open("head", rec.header, rec.body)
	})
}

// FuzzRecordBody: the insides, which only members can write, are read as carefully.
func FuzzRecordBody(f *testing.F) {
	f.Add(encodeHeads(fullHead(1, 3), fullHead(2, 0)))
	f.Add(encodeMember(Member{Name: "m", Roles: []string{"speaker"}}, false))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if heads, err := decodeHeads("x", b); err == nil {
			again := encodeHeads(heads...)
			if got, err := decodeHeads("x", again); err != nil || len(got) != len(heads) {
				t.Fatalf("%d heads become %d, %v", len(heads), len(got), err)
			}
		}
		if m, left, err := decodeMember("x", b); err == nil {
			got, gone, err := decodeMember("x", encodeMember(m, left))
			if err != nil || gone != left || got.Name != m.Name || !slices.Equal(got.Roles, m.Roles) {
				t.Fatalf("%+v becomes %+v, %v", m, got, err)
			}
		}
	})
}

// FuzzOffer: forwarded offers come from other nodes.
func FuzzOffer(f *testing.F) {
	room := testRoom(f, RoomOptions{AnyoneSpeaks: true})
	j, e := newActor("joiner"), newActor("entry")
	raw, content, err := sealOffer(&room.secret, j.key, j.box, uint64(then.UnixMilli()), [16]byte{1}, e.boxPub(), 1, []byte("body"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Offer{record: raw, content: content}.Forward())
	f.Add(binary.BigEndian.AppendUint64(nil, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseForwarded(&room.secret, b, then)
		if err == nil && !bytes.Equal(o.Forward(), b) {
			t.Fatal("an offer changes when it is handed down")
		}
	})
}

func FuzzDHTKey(f *testing.F) {
	f.Add(dhtKey(kindOffer, newActor("a").pub, place{1}, []byte("slot")))
	f.Add(dhtKey(kindRoom, newActor("a").pub, place{}, nil))
	f.Add(strings.Replace(dhtKey(kindRoom, newActor("a").pub, place{}, nil), "/room/", "/room/\n", 1))
	f.Fuzz(func(t *testing.T, key string) {
		k, w, at, err := parseKey(key)
		if err == nil && !strings.HasPrefix(key, dhtKey(k, w, at, nil)) {
			t.Fatalf("%q is read as %q", key, dhtKey(k, w, at, nil))
		}
	})
}
