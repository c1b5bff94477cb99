package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/pion/stun/v3"

	"github.com/watergy/waterfall/node"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]float64{
		"10mbps": 10e6, "10Mbit/s": 10e6, "2.5 mbps": 2.5e6, "800kbps": 8e5, "1gbps": 1e9, "300000": 3e5, "0": 0,
		"fast": -1, "": -1, "10mb": -1, "-1mbps": -1, "1e99gbps": -1, "mbps": -1, "1..2mbps": -1, "NaN": -1,
	} {
		got, err := parseRate(s)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int{
		"16MiB": 16 << 20, "16M": 16 << 20, "500kB": 500_000, "1024": 1024, "1.5KiB": 1536,
		"much": -1, "-1": -1, "99999999999GiB": -1, "": -1,
	} {
		got, err := parseSize(s)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func FuzzQuantity(f *testing.F) {
	for _, s := range []string{"16MiB", "10mbps", "1e309", "-0.1k", "ß"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := parseRate(s); err == nil && (v < 0 || math.IsNaN(v) || math.IsInf(v, 0)) {
			t.Errorf("rate %q is %v", s, v)
		}
		if v, err := parseSize(s); err == nil && v < 0 {
			t.Errorf("size %q is %v", s, v)
		}
	})
}

func TestParsePorts(t *testing.T) {
	for s, want := range map[string][2]uint16{"": {0, 0}, "1-65535": {1, 65535}, "5000-5000": {5000, 5000}} {
		if lo, hi, err := parsePorts(s); err != nil || lo != want[0] || hi != want[1] {
			t.Errorf("%q: %d-%d, %v", s, lo, hi, err)
		}
	}
	for _, s := range []string{"5", "0-5", "6-5", "a-b", "1-65536", "1-2-3", "-"} {
		if _, _, err := parsePorts(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func addrs(t *testing.T, list ...string) []ma.Multiaddr {
	t.Helper()
	var out []ma.Multiaddr
	for _, s := range list {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func TestSTUNServers(t *testing.T) {
	for _, c := range []struct {
		name      string
		given     []string
		bootstrap []string
		want      []string
	}{
		{"none", []string{"none"}, []string{"/ip4/203.0.113.7/udp/1/quic-v1"}, nil},
		{"given", []string{"a:1"}, []string{"/ip4/203.0.113.7/udp/1/quic-v1"}, []string{"a:1"}},
		{"this machine only", nil, []string{"/ip4/127.0.0.1/udp/1/quic-v1", "/ip6/::1/udp/1/quic-v1"}, nil},
		{"bootstrap's first, each once", nil,
			[]string{"/ip4/203.0.113.7/udp/1/quic-v1", "/ip4/203.0.113.7/udp/2/quic-v1", "/dns4/boot.example/udp/1/quic-v1", "/ip6/2001:db8::1/udp/1/quic-v1"},
			append([]string{"203.0.113.7:3478", "[2001:db8::1]:3478", "boot.example:3478"}, publicSTUN[:]...)},
		{"no bootstrap", nil, nil, publicSTUN[:]},
	} {
		got, err := stunServers(c.given, addrs(t, c.bootstrap...))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestSlotCount(t *testing.T) {
	for _, c := range []struct {
		slots   int
		given   bool
		metered bool
		want    int
	}{
		{4, false, false, 0}, // as the uplink carries
		{4, true, false, 4},
		{0, true, false, -1},
		{7, true, true, 7},
		{4, false, true, 1},
	} {
		f := nodeFlags{slots: c.slots, metered: c.metered}
		if got, err := f.slotCount(c.given); err != nil || got != c.want {
			t.Errorf("%+v: %d, %v", c, got, err)
		}
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{nil, 0, ""},
		{errors.New("it broke"), 1, "wfnode: it broke\n"},
		{usagef("bad %q (hint: do (this) well)", "x"), 2, "wfnode: bad \"x\"\nhint: do (this) well\n"},
		{fmt.Errorf("in a room: %w", refusedf("no (hint: ask)")), 3, "wfnode: in a room: no\nhint: ask\n"},
		{fmt.Errorf("%w: for good", errors.New("gone (hint: wait)")), 1, "wfnode: gone: for good\nhint: wait\n"},
		{errors.Join(errors.New("a"), errors.New("b (hint: c")), 1, "wfnode: a; b\nhint: c\n"},
	} {
		var b bytes.Buffer
		if code := report(&b, c.err); code != c.code || b.String() != c.says {
			t.Errorf("%v: code %d, says %q, want %d, %q", c.err, code, b.String(), c.code, c.says)
		}
	}
}

func TestOutput(t *testing.T) {
	say := func(o *output) string {
		var b bytes.Buffer
		o.w = &b
		o.say("peer", "12D3")
		o.say("ready", "")
		o.say("ticket", "waterfall:x?name=a&b=/ip4/127.0.0.1")
		o.say("live", "ab", field{"role", "relay"}, field{"layer", 2})
		return b.String()
	}
	if got, want := say(&output{}), "peer: 12D3\nready\nticket: waterfall:x?name=a&b=/ip4/127.0.0.1\nlive: ab (role relay, layer 2)\n"; got != want {
		t.Errorf("text:\n%s", got)
	}
	want := `{"event":"peer","peer":"12D3"}
{"event":"ready"}
{"event":"ticket","ticket":"waterfall:x?name=a&b=/ip4/127.0.0.1"}
{"event":"live","live":"ab","role":"relay","layer":2}
`
	if got := say(&output{json: true}); got != want {
		t.Errorf("JSON:\n%s", got)
	}
}

func TestWatcherSaysEachThingOnce(t *testing.T) {
	var b bytes.Buffer
	w := newWatcher(&output{w: &b}, "nobody yet")
	start := w.since
	frame, layer := 12.5, 2
	doc := func(state string, first *float64) node.Status {
		return node.Status{Rooms: []node.RoomStatus{{Streams: []node.StreamStatus{{
			ID: "ab", State: state, Role: "listener", Layer: &layer, Join: node.JoinStatus{FirstFrameMS: first},
		}}}}}
	}
	w.look(start.Add(time.Second), node.Status{})
	w.look(start.Add(waitBeforeSaying), doc("waiting", nil))
	w.look(start.Add(2*waitBeforeSaying), doc("live", nil))
	for range 2 {
		w.look(start.Add(3*waitBeforeSaying), doc("live", &frame))
	}
	for range 2 {
		w.look(start.Add(4*waitBeforeSaying), doc("ended", &frame))
	}
	if want := "waiting: nobody yet\nlive: ab (role listener, layer 2)\nended: ab\n"; b.String() != want {
		t.Errorf("said:\n%s", b.String())
	}
}

func TestDrawTree(t *testing.T) {
	views := []view{
		{name: "speaker", peer: "P0", live: true, attached: true, children: 2, slots: 4},
		{name: "listener 1", peer: "12D3KooWaaaaaa", parent: "P0", live: true, layer: 1, attached: true, children: 1, slots: 4},
		{name: "listener 2", peer: "P2", parent: "12D3KooWaaaaaa", live: true, layer: 2, attached: true, slots: 4},
		{name: "listener 3", peer: "P3", parent: "P0", live: true, layer: 1, attached: true, slots: 4, lost: 3},
		{name: "listener 4", peer: "P4"},
		{name: "listener 5", peer: "P5", parent: "P6", layer: 1, attached: true}, // these two say that
		{name: "listener 6", peer: "P6", parent: "P5", layer: 2, attached: true}, // they feed each other
	}
	d := drawTree(views)
	if want := "layers 1 + 3 + 2: 3 of 6 listeners live, 3 packets lost"; d.summary != want || d.full {
		t.Errorf("summary %q, full %v", d.summary, d.full)
	}
	want := `speaker P0  live  layer 0  children 2/4
├─ listener 1 …aaaaaa  live  layer 1  children 1/4
│  └─ listener 2 P2  live  layer 2  children 0/4
└─ listener 3 P3  live  layer 1  children 0/4
?  listener 4 P4  waiting
?  listener 5 P5  waiting  layer 1  children 0/0
?  listener 6 P6  waiting  layer 2  children 0/0
`
	if d.tree != want {
		t.Errorf("tree:\n%s", d.tree)
	}
}

func TestSummary(t *testing.T) {
	views := []view{
		{name: "speaker", peer: "P0", live: true, attached: true, received: 9},
		{name: "listener 1", peer: "P1", parent: "P0", live: true, layer: 1, attached: true, received: 5, lost: 2, switches: 1},
		{name: "listener 2", peer: "P2"},
	}
	got := compact(summarize(views, 0))
	for _, part := range []string{`"nodes":2,"live":1,"all_live_ms":null,"layers":[1,1],"lost":2,"switches":1,"received":5`, `"parent":null,"layer":null,"live":false`} {
		if !strings.Contains(got, part) {
			t.Errorf("no %s in %s", part, got)
		}
	}
	if got := compact(summarize(views, 1500*time.Millisecond)); !strings.Contains(got, `"all_live_ms":1500`) {
		t.Errorf("no time in %s", got)
	}
}

func TestDemoKeepsTheUsersSettingsOut(t *testing.T) {
	got := demoEnv([]string{"PATH=/bin", "WFNODE_HOME=/x", "WFNODE_SIGNAL=dht", "WFNODE_RTSP=:8554"})
	if want := []string{"PATH=/bin", "WFNODE_SIGNAL=dht"}; !reflect.DeepEqual(got, want) {
		t.Errorf("kept %q", got)
	}
}

func TestSTUNAnswer(t *testing.T) {
	s, err := listenSTUN("127.0.0.1:0", network{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	c, err := net.Dial("udp", s.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	for _, b := range [][]byte{{}, []byte("junk"), request.Raw[:19], request.Raw} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1500)
	k, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	answer := &stun.Message{Raw: buf[:k]}
	var mapped stun.XORMappedAddress
	if err := answer.Decode(); err != nil || answer.TransactionID != request.TransactionID || mapped.GetFrom(answer) != nil {
		t.Fatalf("answer %v (%v)", answer, err)
	}
	if mapped.String() != c.LocalAddr().String() {
		t.Errorf("told %s, is %s", mapped, c.LocalAddr())
	}
}

func FuzzSTUN(f *testing.F) {
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)
	f.Add([]byte("junk"))
	from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	f.Fuzz(func(t *testing.T, b []byte) {
		if a := stunAnswer(b, from); len(a) > 2*len(b)+40 {
			t.Errorf("%d bytes are answered with %d", len(b), len(a))
		}
	})
}

func TestMeteredSlots(t *testing.T) {
	for _, c := range []struct {
		slots int
		given bool
		want  int
	}{{4, false, 1}, {7, true, 7}, {0, true, -1}} { // a speaker has to feed somebody
		f := nodeFlags{slots: c.slots, metered: true}
		if got, err := f.slotCount(c.given); err != nil || got != c.want {
			t.Errorf("%+v: %d, %v", c, got, err)
		}
	}
}
