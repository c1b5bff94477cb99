package stream

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/watergy/waterfall/internal/golden"
)

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []Header{
		{},
		{KeyStart: true, Marker: true, Epoch: 255, Tag: 0xfff, Track: 15, Number: MaxNumber, Time: 1<<32 - 1},
		{Marker: true, Epoch: 1, Tag: 0x123, Track: 2, Number: 1 << 33, Time: 90000},
	} {
		b := h.Append(nil)
		if len(b) != HeaderSize {
			t.Fatalf("%d bytes", len(b))
		}
		got, err := ParseHeader(append(b, "payload"...))
		if err != nil || got != h {
			t.Errorf("got %+v, %v; want %+v", got, err, h)
		}
	}
	if tag := (ID{0xab, 0xcd}).Tag(); tag != 0xabc {
		t.Errorf("tag %#x", tag)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x40, 14: 0})
	f.Add(Header{Tag: 5, Number: 7}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		again, err := ParseHeader(h.Append(nil))
		if err != nil || again != h {
			t.Fatalf("%+v became %+v", h, again)
		}
	})
}

func TestCatalogRefuses(t *testing.T) {
	ok := TrackInfo{Track: 1, Kind: "video", Codec: "H264", ClockRate: 90000}
	bad := func(change func(*TrackInfo)) Catalog {
		t := ok
		change(&t)
		return Catalog{Tracks: []TrackInfo{t}}
	}
	for name, c := range map[string]Catalog{
		"track 0":   bad(func(t *TrackInfo) { t.Track = 0 }),
		"track 15":  bad(func(t *TrackInfo) { t.Track = 15 }),
		"kind":      bad(func(t *TrackInfo) { t.Kind = "text" }),
		"clock":     bad(func(t *TrackInfo) { t.ClockRate = 0 }),
		"codec":     bad(func(t *TrackInfo) { t.Codec = "" }),
		"line feed": bad(func(t *TrackInfo) { t.Fmtp = "a\r\na=candidate" }),
		"long":      bad(func(t *TrackInfo) { t.Fmtp = strings.Repeat("x", 3000) }),
		"twice":     {Tracks: []TrackInfo{ok, ok}},
	} {
		if _, err := c.Append(nil); !errors.Is(err, ErrCatalog) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testCatalog() Catalog {
	return Catalog{Tracks: []TrackInfo{
		{Track: 1, Kind: "video", Codec: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1;profile-level-id=42e01f"},
		{Track: 2, Kind: "audio", Codec: "opus", ClockRate: 48000, Channels: 2},
	}}
}

func FuzzCatalog(f *testing.F) {
	b, err := testCatalog().Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:20])
	f.Add([]byte{1, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCatalog(b)
		if err != nil {
			return
		}
		enc, err := c.Append(nil)
		if err != nil {
			if len(b) > MaxPayload {
				return
			}
			t.Fatalf("read %+v, cannot write it: %v", c, err)
		}
		if !bytes.HasPrefix(b[3:], enc[3:]) {
			t.Fatalf("%x became %x", b, enc)
		}
	})
}

func TestSealVectors(t *testing.T) {
	var key [16]byte
	for i := range key {
		key[i] = byte(i)
	}
	s, err := NewSealer(key, 0x0102)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintln(&out, "# key 000102…0f, epoch 0x0102. header fields: wire = origin header ‖ AES-128-GCM(payload)")
	enc, err := testCatalog().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "catalog %x\n", enc)
	for _, v := range []struct {
		h       Header
		payload string
	}{
		{Header{}, ""},
		{Header{KeyStart: true, Tag: 0xabc, Track: 1, Number: 7, Time: 3000}, "first"},
		{Header{Marker: true, Tag: 0xfff, Track: 14, Number: MaxNumber, Time: 1<<32 - 1}, "waterfall"},
	} {
		wire := s.Seal(v.h, []byte(v.payload))
		fmt.Fprintf(&out, "seal key=%t marker=%t tag=%03x track=%d number=%d time=%d payload=%q\n  %s\n",
			v.h.KeyStart, v.h.Marker, v.h.Tag, v.h.Track, v.h.Number, v.h.Time, v.payload, hex.EncodeToString(wire))
		got, err := s.Open([]byte("x"), wire)
		if err != nil || string(got) != "x"+v.payload {
			t.Fatalf("opened %q, %v", got, err)
		}
		for i := range wire {
			forged := bytes.Clone(wire)
			forged[i] ^= 1
			if _, err := s.Open(nil, forged); err == nil {
				t.Fatalf("byte %d changed, and it opens", i)
			}
		}
	}
	golden.Compare(t, "testdata/vectors.txt", out.String())
	golden.Shown(t, "../docs/protocol-link.md", out.String())
}

func BenchmarkSealOpen(b *testing.B) {
	s, err := NewSealer([16]byte{}, 1)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 1150)
	dst := make([]byte, 0, 1300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(dst, s.Seal(Header{}, payload)); err != nil {
			b.Fatal(err)
		}
	}
}

// checkDoc holds the page that people read to the vectors.
