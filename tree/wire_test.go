package tree

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/golden"
)

var vectorStream = StreamID{0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f}

// vectors are the messages of testdata/wire.txt, in its order.
var vectors = []Message{
	Path{Stamp: 300, Delay: 31500 * time.Microsecond, Slots: 4, Hops: []Hop{{Node: "root", Contact: []byte{1, 2}}, {Node: "up"}},
		Reach: Reach{NAT: NATOpen, Site: 300}, Up: 255},
	Sum{Seen: 3, Slots: 4, Layers: []uint32{1, 4, 200}, Open: []uint32{0, 2, 800}, Contact: []byte{9},
		Entries: []Entry{{Node: "kid", Contact: []byte{8}, Layer: 2, Opening: 3, Free: 5}},
		Reach:   Reach{NAT: NATRestricted, Site: 0x1234}, Up: 61, Strict: [2][]uint32{{0, 1, 700}, nil}},
	HeadDown{Stamp: 7, Delay: 40 * time.Millisecond, Head: Head{Stream: vectorStream, Seq: 6, Layers: []uint32{1, 4}, Open: []uint32{0, 16}, Free: 16,
		Entries: []Entry{{Node: "root", Contact: []byte{1, 2}, Layer: 0, Opening: 2, Free: 16}}}},
	HandDown{Num: 1, Hops: 2, Deepest: 5, Offer: Offer{ID: 1000, Joiner: "new", Below: 1, Avoid: "old", Raw: []byte{0xde, 0xad}}},
	NoRoom{Joiner: "new", Offer: 1000},
	Leaving{},
	Gone{},
	Fresh{},
	Beat{Stamp: 8, Delay: time.Microsecond},
	HandUp{Hops: 1, Deepest: 4, Offer: Offer{ID: 1001, Joiner: "kid", Purpose: ToStand, Below: 3, Slots: 8, Avoid: "up", Raw: []byte{0xbe, 0xef},
		Reach: Reach{NAT: NATSymmetric, Site: 5}, Up: 2}},
	Reply{Joiner: "kid", Offer: 1001, Raw: []byte{1, 2, 3}},
	Stand{Parent: "up"},
	Move{},
}

// TestVectors holds Marshal and Unmarshal to the bytes that are written down.
func TestVectors(t *testing.T) {
	const file = "testdata/wire.txt"
	head, rest, ok := strings.Cut(golden.Read(t, file), "\nTest vectors")
	if !ok {
		t.Fatalf("%s has no test vectors", file)
	}
	intro, _, _ := strings.Cut(rest, "\n")
	out := head + "\nTest vectors" + intro + "\n"
	for _, m := range vectors {
		b := Marshal(vectorStream, m)
		out += fmt.Sprintf("\n%s\n  %s\n", strings.TrimPrefix(fmt.Sprintf("%T", m), "tree."), hex.EncodeToString(b))
		s, got, err := Unmarshal(b)
		if err != nil || s != vectorStream || !reflect.DeepEqual(got, m) {
			t.Errorf("%T came back as %+v of %x, %v", m, got, s, err)
		}
	}
	golden.Compare(t, file, out)
}

func TestUnmarshalRefuses(t *testing.T) {
	frame := func(body ...byte) []byte { return append(vectorStream[:len(vectorStream):len(vectorStream)], body...) }
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"no type":         vectorStream[:],
		"unknown type":    frame(200),
		"no body":         frame(typePath),
		"path too long":   frame(typePath, 1, 0, 4, 65),
		"nameless hop":    frame(typePath, 1, 0, 4, 1, 0, 0),
		"contact cut":     frame(typePath, 1, 0, 4, 1, 1, 'a', 9, 1),
		"contact long":    append(frame(typePath, 1, 0, 4, 1, 1, 'a', 65), make([]byte, 65)...),
		"endless number":  frame(typeBeat, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1),
		"many layers":     append(frame(typeSum, 0, 4, 65), make([]byte, 80)...),
		"count too large": frame(typeSum, 0, 4, 1, 0x80, 0x80, 0x80, 0x80, 0x08),
		"five entries":    append(frame(typeSum, 0, 4, 0, 0, 0, 5), make([]byte, 80)...),
		"raw cut":         frame(typeHandDown, 1, 1, 1, 1, 1, 'j', 0, 1, 4, 0, 20, 0),
		"too long":        append(frame(typeGone), make([]byte, MaxMessage)...),
	} {
		if _, m, err := Unmarshal(b); err == nil {
			t.Errorf("%s: taken as %+v", name, m)
		}
	}
	if _, m, err := Unmarshal(frame(typeGone, 1, 2, 3)); err != nil || m != (Gone{}) {
		t.Errorf("bytes after the body: %v, %v", m, err)
	}
}

// TestLargestFits: what a Peer may say at most is within MaxMessage.
func TestLargestFits(t *testing.T) {
	id, contact := NodeID(strings.Repeat("n", maxID)), bytes.Repeat([]byte{1}, maxContact)
	counts := make([]uint32, maxPath)
	for i := range counts {
		counts[i] = maxCount - 1
	}
	var entries []Entry
	for range maxEntries {
		entries = append(entries, Entry{id, contact, maxPath, maxPath, maxCount - 1})
	}
	p, err := New(Config{Self: id, Contact: contact})
	if err != nil {
		t.Fatal(err)
	}
	for range maxPath - 1 {
		p.path = append(p.path, Hop{id, contact})
	}
	reach := Reach{NATSymmetric, 1<<16 - 1}
	largest := Offer{1 << 63, id, ToStand, maxCount - 1, maxSlots, reach, maxUp, id, make([]byte, maxRaw)}
	for _, m := range []Message{
		func() Path { m := p.pathMessage(); m.Delay, m.Slots = maxDelay, maxSlots; return m }(),
		HandUp{maxPath, maxPath, largest},
		Reply{id, 1 << 63, make([]byte, maxReply)},
		Sum{1 << 63, maxSlots, counts, counts, contact, entries[:maxBelow], reach, maxUp, [2][]uint32{counts, counts}},
		HeadDown{1 << 63, maxDelay, Head{Seq: 1 << 63, Entries: entries, Layers: counts, Open: counts, Free: maxCount - 1}},
		HandDown{1 << 63, maxPath, maxPath, largest},
	} {
		b := Marshal(vectorStream, m)
		if len(b) > MaxMessage {
			t.Errorf("%T takes %d bytes", m, len(b))
		}
		if _, _, err := Unmarshal(b); err != nil {
			t.Errorf("%T: %v", m, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, m := range vectors {
		f.Add(Marshal(vectorStream, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, m, err := Unmarshal(b)
		if err != nil {
			return
		}
		again := Marshal(s, m)
		s2, m2, err := Unmarshal(again)
		if err != nil || s2 != s || !reflect.DeepEqual(m, m2) {
			t.Fatalf("%+v came back as %+v, %v", m, m2, err)
		}
	})
}
