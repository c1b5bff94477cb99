package dht

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/vectors.txt anew; paste it into docs/protocol-dht.md")

const (
	vectorsFile = "testdata/vectors.txt"
	docFile     = "../docs/protocol-dht.md"
)

// vectors makes the examples. Nonces are random, so each run makes others; those
// checked in must open.
func vectors(t *testing.T) string {
	speaker, joiner, low := newActor("speaker"), newActor("joiner"), newActor("below")
	room := testRoom(t, RoomOptions{Name: "example", Speakers: []peer.ID{speaker.pub.ID()}})
	s, seq := &room.secret, uint64(then.UnixMilli())
	var b strings.Builder
	line := func(name string, v []byte) { fmt.Fprintf(&b, "%s %x\n", name, v) }
	boxLine := func(name string, a actor) { line(name+"-box-private", a.box.Bytes()) }
	fmt.Fprintf(&b, "room-id %s\n", room.ID)
	line("secret", s[:])
	stream := [16]byte{1, 2, 3}
	key := room.MediaKey(stream)
	line("stream", stream[:])
	line("media-key", key[:])
	line("room", room.Record)
	h := newHeader(kindMember, joiner.pub, seq, memberLife)
	line("member", h.sign(joiner.key, s.place("member"), s.seal("member", h, encodeMember(Member{Name: "Ann", Since: then, Roles: []string{"listener"}}, false))))
	h = newHeader(kindHead, speaker.pub, seq, headLife)
	line("head", h.sign(speaker.key, s.place("head"), s.seal("head", h, encodeHeads(Head{
		Stream: stream, Seq: 7, Free: 3, Layers: []uint32{1, 1},
		Entries: []HeadEntry{{speaker.pub.ID(), speaker.boxPub(), 0, 1, 3}},
	}))))
	boxLine("speaker", speaker)
	boxLine("joiner", joiner)
	raw, _, err := sealOffer(s, joiner.key, joiner.box, seq, stream, speaker.boxPub(), 42, []byte("offer"))
	if err != nil {
		t.Fatal(err)
	}
	line("offer", raw)
	rec, err := parseRecord(raw)
	if err != nil {
		t.Fatal(err)
	}
	o, err := openOffer(s, rec, speaker.box, nil)
	if err != nil {
		t.Fatal(err)
	}
	line("content-key", o.content)
	raw, err = sealAnswer(s, low.key, low.box, seq, o, []byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	line("answer", raw)
	for _, p := range []string{"member", "head", "offers", shard(joiner.pub)} {
		fmt.Fprintf(&b, "topic %s %s\n", p, topicName(s.place(p)))
	}
	fmt.Fprintf(&b, "dht-key %s\n", dhtKey(kindHead, speaker.pub, s.place("head"), nil))
	fmt.Fprintf(&b, "members-bucket-1 %s\n", s.rendezvous("members", nil, 1))
	lock, err := LockPassword(room.ID, 2, NewSecret(), []byte("waterfall"))
	if err != nil {
		t.Fatal(err)
	}
	closed := testRoom(t, RoomOptions{Name: "closed", Epoch: 2, Lock: lock, Speakers: []peer.ID{speaker.pub.ID()}})
	proof := closed.Proof(speaker.pub.ID(), joiner.pub.ID())
	line("password-room", closed.Record)
	line("password-room-secret", closed.secret[:])
	line("proof-speaker-to-joiner", proof[:])
	return b.String()
}

// TestVectors: what is written down in docs/ is what the code does.
func TestVectors(t *testing.T) {
	if *rewrite {
		if err := os.WriteFile(vectorsFile, []byte(vectors(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(doc, text) {
		t.Errorf("%s does not show %s", docFile, vectorsFile)
	}
	for k := kindRoom; k <= kindWraps; k++ {
		lim, _ := k.bounds()
		if row := fmt.Sprintf("| %d | %s | %d | %d |", k, lim.name, lim.size, lim.life/time.Second); !bytes.Contains(doc, []byte(row)) {
			t.Errorf("%s has no row %q", docFile, row)
		}
	}

	v := map[string]string{}
	for l := range strings.Lines(string(text)) {
		name, val, _ := strings.Cut(strings.TrimSpace(l), " ")
		if name == "topic" {
			p, rest, _ := strings.Cut(val, " ")
			name, val = "topic "+p, rest
		}
		v[name] = val
	}
	bin := func(name string) []byte {
		b, err := hex.DecodeString(v[name])
		if err != nil || len(b) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		return b
	}
	id, err := peer.Decode(v["room-id"])
	if err != nil {
		t.Fatal(err)
	}
	room, err := openRoom(t.Context(), id, bin("room"), then, Keys{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &room.secret
	stream := [16]byte(bin("stream"))
	speaker, joiner, low := newActor("speaker"), newActor("joiner"), newActor("below")
	if key := room.MediaKey(stream); !bytes.Equal(s[:], bin("secret")) || !bytes.Equal(key[:], bin("media-key")) || room.Name != "example" || !room.MaySpeak(speaker.pub.ID()) {
		t.Errorf("the room opens as %+v", room)
	}
	opened := func(k kind, name, at string) record {
		t.Helper()
		rec, err := check(bin(name), k, s.place(at), then)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return rec
	}
	rec := opened(kindMember, "member", "member")
	plain, err := s.open("member", rec.header, rec.body)
	if err != nil {
		t.Fatal(err)
	}
	if m, _, err := decodeMember("", plain); err != nil || m.Name != "Ann" || len(m.Roles) != 1 || m.Roles[0] != "listener" {
		t.Errorf("member %+v, %v", m, err)
	}
	rec = opened(kindHead, "head", "head")
	if plain, err = s.open("head", rec.header, rec.body); err != nil {
		t.Fatal(err)
	}
	if h, err := decodeHeads(rec.writer.ID(), plain); err != nil || len(h) != 1 || h[0].Seq != 7 || h[0].Free != 3 || h[0].Entries[0].Box != speaker.boxPub() {
		t.Errorf("head %+v, %v", h, err)
	}
	rec = opened(kindOffer, "offer", "offers")
	o, err := openOffer(s, rec, speaker.box, nil)
	if err != nil || o.ID != 42 || string(o.Body) != "offer" || !bytes.Equal(o.content, bin("content-key")) || o.Joiner != joiner.pub.ID() {
		t.Errorf("offer %+v, %v", o, err)
	}
	a, err := openAnswer(opened(kindAnswer, "answer", shard(joiner.pub)), joiner.box, stream, 42)
	if err != nil || a.From != low.pub.ID() || string(a.Body) != "answer" {
		t.Errorf("answer %+v, %v", a, err)
	}
	for _, p := range []string{"member", "head", "offers", shard(joiner.pub)} {
		if got := topicName(s.place(p)); got != v["topic "+p] {
			t.Errorf("topic %s is %s", p, got)
		}
	}
	if got := dhtKey(kindHead, speaker.pub, s.place("head"), nil); got != v["dht-key"] {
		t.Errorf("the head's key is %s", got)
	}
	if got := s.rendezvous("members", nil, 1).String(); got != v["members-bucket-1"] {
		t.Errorf("the members' CID is %s", got)
	}
	if !bytes.Equal(speaker.box.Bytes(), bin("speaker-box-private")) || !bytes.Equal(joiner.box.Bytes(), bin("joiner-box-private")) {
		t.Error("the boxes are others")
	}
	closed, err := openRoom(t.Context(), id, bin("password-room"), then, Keys{Password: []byte("waterfall")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	proof := closed.Proof(speaker.pub.ID(), joiner.pub.ID())
	if closed.Name != "closed" || closed.Epoch != 2 || !bytes.Equal(closed.secret[:], bin("password-room-secret")) || !bytes.Equal(proof[:], bin("proof-speaker-to-joiner")) {
		t.Errorf("the password room opens as %+v", closed)
	}
}
