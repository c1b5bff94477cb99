package link

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/internal/golden"
	"github.com/watergy/waterfall/stream"
)

type message interface{ append([]byte) []byte }

func messages() []message {
	return []message{
		heartbeat{tag: 0xabc, burst: true, marks: stream.Marks{0: 3, 1: 1 << 40, 15: 1}, group: 1, first: 1<<40 - 250},
		heartbeat{tag: 1, paced: true, starving: 400 * time.Millisecond},
		ask{session: 7, id: stream.ID{1, 2, 3, 15: 16}, marks: stream.Marks{1: 100, 2: 200}},
		ask{session: 1 << 31},
		want{tag: 0xfff, ranges: []stream.Range{{Track: 1, From: 5, To: 6}, {Track: 2, From: 1 << 33, To: 1<<33 + 300}}},
		drop{session: 9, tag: 0xabc},
		retract{tag: 0xabc, ranges: []stream.Range{{Track: 1, From: 5, To: 7}}},
		keyframe{tag: 2748},
		lack{tag: 0xabc, ranges: []stream.Range{{Track: 1, From: 5, To: 7}}},
		ping{clock: 1},
		ping{1 << 31, report{next: 65535, packets: 1 << 31, bytes: 7, queue: 1234 * time.Millisecond}},
		pong{clock: 1<<32 - 1},
	}
}

func testDescription() Description {
	d := Description{
		Ufrag: "abcdefgh", Pwd: "ABCDEFGHIJKLMNOPQRSTU+/0", SCTP: [8]byte{1, 2, 3, 4, 5, 6, 7, 8},
		Candidates: []Candidate{
			{Addr: netip.MustParseAddrPort("198.51.100.7:40000"), Related: true},
			{Addr: netip.MustParseAddrPort("192.0.2.1:5000")},
			{Addr: netip.MustParseAddrPort("[2001:db8::1]:5001")},
		},
	}
	for i := range d.Fingerprint {
		d.Fingerprint[i] = byte(i)
	}
	return d
}

// TestVectors holds the layouts to testdata/vectors.txt, which docs/protocol-link.md
// points to.
func TestVectors(t *testing.T) {
	var out strings.Builder
	for _, m := range messages() {
		b := m.append(nil)
		fmt.Fprintf(&out, "%T %+v\n  %x\n", m, m, b)
		got, err := parseHop(append(b, 0xee))
		if err != nil || !reflect.DeepEqual(got, any(m)) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
		whole := len(b)
		if h, ok := m.(heartbeat); ok && h.group != 0 {
			whole -= 7 // without the group it is a heartbeat too
		}
		if _, ok := m.(ping); ok {
			whole -= 12 // nor need it report
		}
		for n := range whole {
			if _, err := parseHop(b[:n]); err == nil {
				t.Errorf("%T cut to %d bytes is taken", m, n)
			}
		}
	}
	d := testDescription()
	fmt.Fprintf(&out, "description %+v\n  %x\n", d, d.Append(nil))
	golden.Compare(t, "testdata/vectors.txt", out.String())
	golden.Shown(t, "../../docs/protocol-link.md", out.String())
}

func FuzzHop(f *testing.F) {
	for _, m := range messages() {
		f.Add(m.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseHop(b)
		if err != nil {
			return
		}
		if enc := m.(message).append(nil); !isHop(enc) || len(enc) > 200 {
			t.Fatalf("%+v is %x", m, enc)
		}
	})
}

func FuzzDescription(f *testing.F) {
	f.Add(testDescription().Append(nil))
	f.Add(Description{Ufrag: "abcd", Pwd: strings.Repeat("x", 22)}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, _, err := ParseDescription(b)
		if err != nil {
			return
		}
		again, rest, err := ParseDescription(d.Append(nil))
		if err != nil || len(rest) > 0 || !reflect.DeepEqual(d, again) {
			t.Fatalf("%+v became %+v, %v", d, again, err)
		}
		// Whatever a stranger says, the SDP made of it has the template's lines only.
		text := remoteSDP(webrtc.SDPTypeOffer, d)
		var s sdp.SessionDescription
		if err := s.UnmarshalString(text); err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		lines := 28 + len(d.Candidates)
		if d.SCTP != [8]byte{} {
			lines++
		}
		if n := strings.Count(text, "\n"); n != lines || len(s.MediaDescriptions) != 2 {
			t.Fatalf("%d lines: %q", n, text)
		}
	})
}

func TestDescriptionRefuses(t *testing.T) {
	good := testDescription()
	for name, change := range map[string]func(*Description){
		"short user":        func(d *Description) { d.Ufrag = "abc" },
		"short password":    func(d *Description) { d.Pwd = "abc" },
		"line feed":         func(d *Description) { d.Pwd = strings.Repeat("x", 22) + "\n" },
		"space in the user": func(d *Description) { d.Ufrag = "abc def" },
		"password too long": func(d *Description) { d.Pwd = strings.Repeat("x", 65) },
	} {
		d := good
		change(&d)
		if _, _, err := ParseDescription(d.Append(nil)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	b := good.Append(nil)
	for n := range len(b) {
		if _, _, err := ParseDescription(b[:n]); err == nil {
			t.Errorf("cut to %d bytes it is taken", n)
		}
	}
	d := good
	d.Candidates = []Candidate{
		{Addr: netip.MustParseAddrPort("239.1.2.3:5000")},
		{Addr: netip.MustParseAddrPort("0.0.0.0:5000")},
		{Addr: netip.MustParseAddrPort("192.0.2.1:0")},
		{Addr: netip.MustParseAddrPort("192.0.2.1:9")},
	}
	got, _, err := ParseDescription(d.Append(nil))
	if err != nil || len(got.Candidates) != 1 {
		t.Errorf("%+v, %v", got.Candidates, err)
	}
}

func TestRepairs(t *testing.T) {
	now := time.Unix(0, 0)
	const ms = time.Millisecond
	drain := func(r *repairs) (n int) {
		for {
			if _, ok := r.peek(now); !ok {
				return n
			}
			r.pop(now)
			n++
		}
	}
	fresh := func() *repairs { r := newRepairs(); return &r }

	r := fresh()
	r.want([]stream.Range{{Track: 1, From: 10, To: 30}}, stream.Marks{}, stream.Marks{1: 20}, 0, now)
	if n := drain(r); n != 10 {
		t.Errorf("%d queued, of which 10 had been sent before", n)
	}
	r.want([]stream.Range{{Track: 1, From: 10, To: 12}}, stream.Marks{}, stream.Marks{1: 20}, 100*ms, now.Add(90*ms))
	if n := drain(r); n != 0 {
		t.Errorf("%d queued again within one round trip", n)
	}
	r.want([]stream.Range{{Track: 1, From: 10, To: 12}}, stream.Marks{}, stream.Marks{1: 20}, 100*ms, now.Add(110*ms))
	if n := drain(r); n != 2 {
		t.Errorf("%d queued again after one round trip", n)
	}

	r = fresh()
	for i := range uint64(20) {
		r.want([]stream.Range{{Track: 1, From: i * 1000, To: i*1000 + 1000}}, stream.Marks{}, stream.Marks{1: 1 << 40}, 0, now)
		if len(r.pending) > maxRepairs || len(r.left) > maxLeft+maxRepairs || len(r.wanted) != len(r.pending) {
			t.Fatalf("%d pending, %d remembered", len(r.pending), len(r.left))
		}
	}

	r = fresh()
	hole := []stream.Range{{Track: 1, From: 10, To: 12}}
	for at := range 8 {
		r.want(hole, stream.Marks{}, stream.Marks{1: 20}, 0, now.Add(time.Duration(at)*60*ms))
	}
	now = now.Add(450 * ms)
	if n := drain(r); n != 2 {
		t.Errorf("%d queued for two packets that are wanted again and again", n)
	}
	r.want(hole, stream.Marks{}, stream.Marks{1: 20}, 0, now.Add(100*ms))
	now = now.Add(100*ms + wantAge + ms)
	if n := drain(r); n != 0 {
		t.Errorf("%d still queued after %v", n, wantAge)
	}

	r = fresh()
	sent := 0
	for at := time.Duration(0); at < 10*time.Second; at += ms {
		for !r.allowed(now.Add(at)).After(now.Add(at)) {
			r.spend(1000, 1e9, now.Add(at))
			sent += 1000
		}
	}
	if most := repairBurst + 10*repairFloor; sent < most-2000 || sent > most+2000 {
		t.Errorf("%d bytes of repairs in 10 s on an idle link, want about %d", sent, most)
	}
}

func TestClock(t *testing.T) {
	now := time.UnixMicro(1<<32*1000 + 50)
	if d := since(clockOf(now.Add(-time.Second)), now); d != time.Second {
		t.Errorf("across the wrap: %v", d)
	}
	if d := since(clockOf(now.Add(time.Second)), now); d >= 0 {
		t.Errorf("from the future: %v", d)
	}
}

func TestSCTPToken(t *testing.T) {
	token := [8]byte{9, 8, 7, 6, 5, 4, 3, 2}
	init := fullInit(token)
	if got := sctpToken(init[:]); got != token {
		t.Errorf("%x", got)
	}
	other := bytes.Clone(init[:])
	other[9] ^= 1
	for _, b := range [][]byte{nil, init[:30], other} {
		if got := sctpToken(b); got != [8]byte{} {
			t.Errorf("%x of %x", got, b)
		}
	}
}

// checkDoc holds the page that people read to the vectors.
