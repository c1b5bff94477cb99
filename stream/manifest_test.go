package stream

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/watergy/waterfall/internal/golden"
)

func testKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

func testManifest() manifest {
	s := newSummer(ID{0xab, 0xcd})
	m := manifest{epoch: 0x0102, parts: 1, number: 6}
	for _, r := range []struct {
		track Track
		from  uint64
		n     int
	}{{0, 1, 1}, {1, 1 << 33, 3}, {14, 0, 1}} {
		p := span{track: r.track, from: r.from}
		for i := range r.n {
			x := s.sum([]byte{byte(r.track), byte(i)})
			p.sums = append(p.sums, x[:]...)
		}
		m.runs = append(m.runs, p)
	}
	return m
}

func TestManifestRoundTrip(t *testing.T) {
	id, key := ID{0xab, 0xcd}, testKey()
	pub := key.Public().(ed25519.PublicKey)
	m := testManifest()
	wire := m.seal(id, key)
	second := copyOf(wire, manifestHeader(id, m.epoch, m.number+1))
	for name, w := range map[string][]byte{"first": wire, "second": second} {
		got, err := parseManifest(id, w)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(m) {
			t.Errorf("%s copy: %+v, %v", name, got, err)
		}
		if err := verifyManifest(id, pub, w); err != nil {
			t.Errorf("%s copy: %v", name, err)
		}
	}
	taken := func(id ID, w []byte) bool {
		_, err := parseManifest(id, w)
		return err == nil && verifyManifest(id, pub, w) == nil
	}
	for i := range wire {
		for bit := range 8 {
			forged := bytes.Clone(wire)
			forged[i] ^= 1 << bit
			if taken(id, forged) && !bytes.Equal(forged, second) {
				t.Fatalf("bit %d of byte %d changed, and it is taken", bit, i)
			}
		}
		if taken(id, wire[:i]) {
			t.Fatalf("cut to %d bytes, and it is taken", i)
		}
	}
	if taken(id, append(bytes.Clone(wire), 0)) {
		t.Error("lengthened, and it is taken")
	}
	if other := (ID{0xab, 0xcd, 1}); taken(other, wire) {
		t.Error("a manifest of another stream is taken")
	}
	if third := copyOf(wire, manifestHeader(id, m.epoch, m.number+2)); taken(id, third) {
		t.Error("a third copy is taken")
	}
}

func TestSumIsOfThisStream(t *testing.T) {
	if newSummer(ID{1}).sum([]byte("x")) == newSummer(ID{2}).sum([]byte("x")) {
		t.Error("two streams' packets have one sum")
	}
}

func FuzzManifest(f *testing.F) {
	id := ID{0xab, 0xcd}
	wire := testManifest().seal(id, testKey())
	f.Add(wire)
	f.Add(wire[:len(wire)-9])
	f.Add(manifest{parts: 255}.seal(id, testKey()))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(id, b)
		if err != nil {
			return
		}
		// What is read has one form only.
		h, err := ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		again := m.appendBody(manifestHeader(id, m.epoch, h.Number).Append(nil))
		if !bytes.Equal(again, b[:len(b)-ed25519.SignatureSize]) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func TestManifestVectors(t *testing.T) {
	id, key := ID{0xab, 0xcd}, testKey()
	var out strings.Builder
	fmt.Fprintf(&out, "# stream ID %x, Ed25519 seed %x, public key %x\n",
		id[:], key.Seed(), key.Public().(ed25519.PublicKey))
	packet := Header{Tag: id.Tag(), Epoch: 1, Track: 1, Number: 7, Time: 3000}.Append(nil)
	packet = append(packet, "sealed payload"...)
	x := newSummer(id).sum(packet)
	fmt.Fprintf(&out, "packet %x\n  sum %x\n", packet, x[:])
	fmt.Fprintf(&out, "manifest %v\n  signed %s\n", testManifest().line(), hex.EncodeToString(signedBytes(id, testManifest().appendBody(nil))))
	wire := testManifest().seal(id, key)
	fmt.Fprintf(&out, "  first copy %x\n  second copy %x\n", wire, copyOf(wire, manifestHeader(id, 0x0102, 7)))
	golden.Compare(t, "testdata/manifest.txt", out.String())
	golden.Shown(t, "../docs/protocol-manifest.md", out.String())
}

func (m manifest) line() string {
	s := fmt.Sprintf("epoch=%#x parts=%d number=%d", m.epoch, m.parts, m.number)
	for _, r := range m.runs {
		s += fmt.Sprintf(" %d:%d+%d", r.track, r.from, r.len())
	}
	return s
}

// TestSplit fills manifests: every packet of a batch is in one, and each fits a packet.
func TestSplit(t *testing.T) {
	for _, n := range []int{1, 34, 88, 90, 91, 92, 1000} {
		s := &signing{key: testKey(), sums: newSummer(ID{})}
		for tr := Track(0); tr < 3; tr++ {
			s.batch[tr] = span{track: tr, from: uint64(tr) * 100, sums: make([]byte, n*sumSize)}
		}
		next := [3]uint64{0, 100, 200}
		parts := s.split(1, 5)
		for i, m := range parts {
			wire := m.seal(ID{}, s.key)
			if len(wire) > HeaderSize+MaxPayload {
				t.Errorf("%d: a manifest of %d bytes", n, len(wire))
			}
			got, err := parseManifest(ID{}, wire)
			if err != nil || got.number != 5+uint64(i) || int(got.parts) != len(parts) {
				t.Fatalf("%d: %+v, %v", n, got, err)
			}
			for _, r := range got.runs {
				if r.from != next[r.track] {
					t.Errorf("%d: a run of track %d begins at %d, want %d", n, r.track, r.from, next[r.track])
				}
				next[r.track] = r.to()
			}
		}
		for tr, to := range next {
			if to != uint64(tr*100+n) {
				t.Errorf("%d: track %d is signed up to %d", n, tr, to)
			}
		}
	}
	if _, err := parseManifest(ID{}, nil); !errors.Is(err, ErrManifest) {
		t.Error(err)
	}
}

// BenchmarkSum is the hash of one packet.
func BenchmarkSum(b *testing.B) {
	s, wire := newSummer(ID{}), make([]byte, 1000)
	b.ReportAllocs()
	for b.Loop() {
		s.sum(wire)
	}
}

// BenchmarkVerify is the check of one manifest's signature.
func BenchmarkVerify(b *testing.B) {
	key := testKey()
	wire := testManifest().seal(ID{0xab, 0xcd}, key)
	b.ReportAllocs()
	for b.Loop() {
		if err := verifyManifest(ID{0xab, 0xcd}, key.Public().(ed25519.PublicKey), wire); err != nil {
			b.Fatal(err)
		}
	}
}
