package node

import (
	"encoding/hex"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/link"
	"github.com/watergy/waterfall/tree"
)

func sampleDescription() link.Description {
	return link.Description{
		Ufrag: "abcdefgh", Pwd: "abcdefghijklmnopqrstuvwx", Fingerprint: [32]byte{1, 2, 3},
		Candidates: []link.Candidate{{Addr: netip.MustParseAddrPort("192.0.2.1:4242")}},
	}
}

func TestBodiesSurviveTheTrip(t *testing.T) {
	o := offerBody{below: 300, avoid: "lost", desc: sampleDescription(), purpose: tree.ToStand, slots: 8,
		reach: tree.Reach{NAT: tree.NATSymmetric, Site: 0x1234}, up: 61}
	gotOffer, err := parseOfferBody(o.append(nil))
	if err != nil || !reflect.DeepEqual(gotOffer, o) {
		t.Errorf("offer: got %+v, %v, want %+v", gotOffer, err, o)
	}
	for name, a := range map[string]answerBody{
		"accepted": {verdict: tree.Accepted, path: []tree.NodeID{"root", "relay"}, desc: sampleDescription()},
		"use link": {verdict: tree.Accepted, useLink: true, path: []tree.NodeID{"root"}},
		"full":     {verdict: tree.Full},
	} {
		got, err := parseAnswerBody(a.append(nil))
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, a)
		}
	}
}

func TestOfferBodyFitsItsRecord(t *testing.T) {
	d := sampleDescription()
	d.Candidates = nil
	for i := range 8 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 40000)
		if i >= 5 {
			addr = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), 40000)
		}
		d.Candidates = append(d.Candidates, link.Candidate{Addr: addr})
	}
	// dht: a body of ≤ 230 bytes keeps the sealed record ≤ 450.
	if n := len((offerBody{below: 10_000, avoid: tree.NodeID(make([]byte, 38)), desc: d}).append(nil)); n > 230 {
		t.Errorf("an offer with 8 candidates is %d bytes, want ≤ 230", n)
	}
}

func FuzzBodies(f *testing.F) {
	f.Add(offerBody{below: 1, desc: sampleDescription()}.append(nil))
	f.Add(answerBody{verdict: tree.Accepted, path: []tree.NodeID{"root"}, desc: sampleDescription()}.append(nil))
	f.Add(answerBody{verdict: tree.Full}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := parseOfferBody(b); err == nil {
			if again, err := parseOfferBody(o.append(nil)); err != nil || !reflect.DeepEqual(again, o) {
				t.Fatalf("offer %+v became %+v, %v", o, again, err)
			}
		}
		if a, err := parseAnswerBody(b); err == nil {
			if again, err := parseAnswerBody(a.append(nil)); err != nil || !reflect.DeepEqual(again, a) {
				t.Fatalf("answer %+v became %+v, %v", a, again, err)
			}
		}
	})
}

func TestFirstFrame(t *testing.T) {
	h := func(n uint64, track stream.Track, key, marker bool) stream.Header {
		return stream.Header{Number: n, Track: track, KeyStart: key, Marker: marker}
	}
	for name, c := range map[string]struct {
		headers []stream.Header
		want    bool
	}{
		"whole":          {[]stream.Header{h(5, 1, true, false), h(6, 1, false, false), h(7, 1, false, true)}, true},
		"one packet":     {[]stream.Header{h(5, 1, true, true)}, true},
		"audio between":  {[]stream.Header{h(5, 1, true, false), h(90, 2, false, true), h(6, 1, false, true)}, true},
		"hole":           {[]stream.Header{h(5, 1, true, false), h(7, 1, false, true)}, false},
		"no key start":   {[]stream.Header{h(5, 1, false, false), h(6, 1, false, true)}, false},
		"hole, then new": {[]stream.Header{h(5, 1, true, false), h(7, 1, false, true), h(8, 1, true, false), h(9, 1, false, true)}, true},
	} {
		var f firstFrame
		got := false
		for _, x := range c.headers {
			got = got || f.add(x)
		}
		if got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestNumberedRecordings(t *testing.T) {
	for i, want := range map[int]string{1: "a/talk.mkv", 2: "a/talk-2.mkv", 10: "a/talk-10.mkv"} {
		if got := numbered("a/talk.mkv", i); got != want {
			t.Errorf("recording %d: got %s, want %s", i, got, want)
		}
	}
}

// TestVectors holds docs/protocol.md to the code.
func TestVectors(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"offer, below 300, parent \"lost\", to move, 4 slots, restricted NAT, site 1234, 61 minutes": offerBody{
			below: 300, avoid: "lost", desc: sampleDescription(), purpose: tree.ToMove, slots: 4,
			reach: tree.Reach{NAT: tree.NATRestricted, Site: 0x1234}, up: 61,
		}.append(nil),
		"answer, accepted, path root, relay":    answerBody{verdict: tree.Accepted, path: []tree.NodeID{"root", "relay"}, desc: sampleDescription()}.append(nil),
		"answer, accepted, use link, path root": answerBody{verdict: tree.Accepted, useLink: true, path: []tree.NodeID{"root"}}.append(nil),
		"answer, no room":                       answerBody{verdict: tree.Full}.append(nil),
	} {
		if want := name + "\n  " + hex.EncodeToString(b) + "\n"; !strings.Contains(string(page), want) {
			t.Errorf("docs/protocol.md lacks\n%s", want)
		}
	}
}
