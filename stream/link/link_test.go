package link

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/transport/v4"

	"github.com/watergy/waterfall/stream"
)

const patience = 10 * time.Second // of tests: a loaded machine is slow

// node is an engine whose events are collected.
type node struct {
	*Engine
	t    testing.TB
	mu   sync.Mutex
	seen []Event
	news chan struct{}
	done chan struct{}
}

func newNode(t testing.TB, n transport.Net) *node {
	t.Helper()
	e, err := NewEngine(Config{Loopback: true, Net: n})
	if err != nil {
		t.Fatal(err)
	}
	nd := &node{Engine: e, t: t, news: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(nd.done)
		for ev := range e.Events() {
			nd.mu.Lock()
			nd.seen = append(nd.seen, ev)
			nd.mu.Unlock()
			select {
			case nd.news <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		<-nd.done
	})
	return nd
}

// wait returns the first event of l and kind, waiting for it.
func (n *node) wait(l *Link, kind EventKind) Event {
	n.t.Helper()
	late := time.After(patience)
	for {
		if ev, ok := n.find(l, kind); ok {
			return ev
		}
		select {
		case <-n.news:
		case <-late:
			n.t.Fatalf("no event of kind %d", kind)
		}
	}
}

// forget drops the events so far.
func (n *node) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = nil
}

func (n *node) find(l *Link, kind EventKind) (Event, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ev := range n.seen {
		if ev.Link == l && ev.Kind == kind {
			return ev, true
		}
	}
	return Event{}, false
}

// pair links parent and child; both are up when it returns.
func pair(t testing.TB, child, parent *node) (down, up *Link) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	up, offer, err := child.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	down, answer, err := parent.Answer(ctx, "child", carry(t, offer))
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Accept("parent", carry(t, answer)); err != nil {
		t.Fatal(err)
	}
	child.wait(up, Up)
	parent.wait(down, Up)
	return down, up
}

// feed links child and parent, and has the stream in from arrive in to.
func feed(t testing.TB, child, parent *node, from, to *stream.History) (up *Link) {
	t.Helper()
	down, up := pair(t, child, parent)
	down.Serve(from)
	up.Take(to)
	return up
}

// carry sends d through its encoding.
func carry(t testing.TB, d Description) Description {
	t.Helper()
	b := d.Append(nil)
	d, rest, err := ParseDescription(append(b, "rest"...))
	if err != nil || string(rest) != "rest" {
		t.Fatalf("%v, rest %q", err, rest)
	}
	return d
}

// speaker is a history that a publisher fills: 250 packets a second of 1,000 bytes, a
// key start every 50.
type speaker struct {
	h    *stream.History
	seal *stream.Sealer
	pub  *stream.Publisher
	n    atomic.Uint64
}

func newSpeaker(t testing.TB) *speaker {
	t.Helper()
	seal, err := stream.NewSealer([16]byte{7}, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := &speaker{h: stream.NewHistory(stream.ID{0xab, 0xcd, 1}, stream.HistoryConfig{}), seal: seal}
	s.pub = stream.NewPublisher(s.h, seal)
	err = s.pub.SetTracks(stream.Catalog{Tracks: []stream.TrackInfo{{Track: 1, Kind: "video", Codec: "H264", ClockRate: 90000}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *speaker) write(t testing.TB) {
	n := s.n.Add(1) - 1
	if err := s.pub.Write(1, uint32(n)*360, true, n%50 == 0, make([]byte, 1000)); err != nil {
		t.Error(err)
	}
}

// talk writes in the background until stop is called.
func (s *speaker) talk(t testing.TB) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(4 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				s.write(t)
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-done })
}

func (s *speaker) far() *stream.History { return stream.NewHistory(s.h.ID(), stream.HistoryConfig{}) }

func video(h *stream.History) stream.TrackStats {
	for _, s := range h.Stats() {
		if s.Track == 1 {
			return s
		}
	}
	return stream.TrackStats{}
}

// until waits for ok, looking whenever h gets a packet.
func until(t testing.TB, what string, h *stream.History, ok func() bool) {
	t.Helper()
	c := h.CursorAt(h.Resume())
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	buf := make([]stream.Packet, 64)
	for !ok() {
		// A look at least every 20 ms: what is waited for may come without a packet.
		look, stop := context.WithTimeout(ctx, 20*time.Millisecond)
		_, err := c.Next(look, buf)
		stop()
		if err != nil && ctx.Err() != nil {
			t.Fatalf("%s: not within %v: %+v", what, patience, h.Stats())
		}
	}
}

// complete checks that far holds what was published from its first packet on, byte for
// byte, up to number last.
func complete(t testing.TB, src, far *stream.History, last uint64) {
	t.Helper()
	s := video(far)
	if s.Lost != 0 || len(far.Missing(time.Now(), 0, 9)) > 0 {
		t.Errorf("lost %d, missing %v", s.Lost, far.Missing(time.Now(), 0, 9))
	}
	first := s.Next - s.Received
	for n := first; n < last; n++ {
		want, ok1 := src.Get(1, n)
		got, ok2 := far.Get(1, n)
		if !ok1 || !ok2 || !bytes.Equal(want.Wire, got.Wire) {
			t.Fatalf("number %d (from %d): held %v and %v, equal %v", n, first, ok1, ok2, bytes.Equal(want.Wire, got.Wire))
		}
	}
}

func TestLinkUpAndControl(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	start := time.Now()
	down, up := pair(t, a, b)
	t.Logf("up after %v", time.Since(start))
	if up.Peer() != "parent" || down.Peer() != "child" {
		t.Errorf("peers %q and %q", up.Peer(), down.Peer())
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), maxControl/16)
	if err := up.Send(big); err != nil {
		t.Fatal(err)
	}
	if ev := b.wait(down, Control); !bytes.Equal(ev.Data, big) {
		t.Errorf("got %d bytes", len(ev.Data))
	}
	if err := up.Send(append(big, 0)); err == nil {
		t.Error("sent more than 64 KiB")
	}
	closing := time.Now()
	up.Close()
	if ev := b.wait(down, Down); ev.Err == nil {
		t.Error("no reason given for the end")
	}
	if ev := a.wait(up, Down); ev.Err != nil {
		t.Errorf("closed by ourselves, and: %v", ev.Err)
	}
	if d := time.Since(closing); d > time.Second {
		t.Errorf("the other side heard of the end after %v", d)
	}
	if err := up.Send(nil); err != ErrClosed {
		t.Errorf("send on a closed link: %v", err)
	}
}

func TestSendBeforeUpQueues(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	up, offer, err := a.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := up.Send([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	down, answer, err := b.Answer(t.Context(), "a", offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Accept("b", answer); err != nil {
		t.Fatal(err)
	}
	b.wait(down, Control)
	deadline := time.After(patience)
	for i := 0; i < 10; {
		b.mu.Lock()
		i = 0
		for _, ev := range b.seen {
			if ev.Kind == Control {
				if int(ev.Data[0]) != i {
					t.Fatalf("message %d comes as %d", ev.Data[0], i)
				}
				i++
			}
		}
		b.mu.Unlock()
		if i < 10 {
			select {
			case <-b.news:
			case <-deadline:
				t.Fatalf("%d messages", i)
			}
		}
	}
}

func TestRelayThroughThreeHops(t *testing.T) {
	src := newSpeaker(t)
	for range 70 {
		src.write(t)
	}
	stop := src.talk(t)
	defer stop()
	nodes := []*node{newNode(t, nil), newNode(t, nil), newNode(t, nil), newNode(t, nil)}
	hists := []*stream.History{src.h, src.far(), src.far(), src.far()}
	for i := 1; i < 4; i++ {
		down, up := pair(t, nodes[i], nodes[i-1])
		down.Serve(hists[i-1])
		start := time.Now()
		up.Take(hists[i])
		nodes[i].wait(up, Flowing)
		t.Logf("hop %d: first packet after %v", i, time.Since(start))
	}
	until(t, "300 packets", hists[3], func() bool { return video(hists[3]).Received >= 300 })
	stop()
	last := src.n.Load()
	until(t, "the last packet", hists[3], func() bool { return video(hists[3]).Next == last })
	for _, h := range hists[1:] {
		complete(t, src.h, h, last)
	}
	if first := video(hists[3]).Next - video(hists[3]).Received; first%50 != 0 {
		t.Errorf("begins at %d, no key start", first)
	}
}

func TestAskWithoutServeGetsNothing(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	src := newSpeaker(t)
	stop := src.talk(t)
	defer stop()
	down, up := pair(t, a, b)
	far := src.far()
	up.Take(far)
	if ev := a.wait(up, Silent); ev.Stream != src.h.ID() || ev.For < silentAfter {
		t.Errorf("%+v", ev)
	}
	if len(far.Stats()) > 0 || down.Stats().MediaOut > 0 {
		t.Error("served without leave")
	}
	down.Serve(src.h)
	a.wait(up, Flowing)
	down.Unserve(src.h.ID())
	before := up.Stats().MediaIn
	until(t, "silence", far, func() bool {
		now := up.Stats().MediaIn
		still := now == before
		before = now
		return still
	})
}

func TestDropStopsTheOtherSide(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	src := newSpeaker(t)
	stop := src.talk(t)
	defer stop()
	down, up := pair(t, a, b)
	down.Serve(src.h)
	far := src.far()
	up.Take(far)
	a.wait(up, Flowing)
	up.Drop(src.h.ID())
	until(t, "sender stops", src.h, func() bool {
		down.mu.Lock()
		defer down.mu.Unlock()
		return !down.serves[src.h.ID()].running
	})
	had := video(far).Received
	up.Take(far)
	until(t, "flows again", far, func() bool { return video(far).Received > had+50 })
	stop()
	last := src.n.Load()
	until(t, "the last packet", far, func() bool { return video(far).Next == last })
	complete(t, src.h, far, last)
}

func TestRTT(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	down, up := pair(t, a, b)
	h := stream.NewHistory(stream.ID{}, stream.HistoryConfig{})
	until(t, "round trip times", h, func() bool { return up.Stats().RTT > 0 && down.Stats().RTT > 0 })
	if d := up.Stats().RTT; d > time.Second {
		t.Errorf("%v on loopback", d)
	}
}

func TestDescriptionIsSmall(t *testing.T) {
	d := Description{Ufrag: "abcdefgh", Pwd: "abcdefghijklmnopqrstuvwx"}
	for i := range maxCandidates {
		d.Candidates = append(d.Candidates, Candidate{Addr: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:5000", i+1)), Related: i == 0})
	}
	if n := len(d.Append(nil)); n > 132 {
		t.Errorf("%d bytes", n)
	}
	if got := carry(t, d); !slices.Equal(got.Candidates, d.Candidates) {
		t.Errorf("%+v", got)
	}
	a := newNode(t, nil)
	_, own, err := a.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if own.SCTP == [8]byte{} {
		t.Error("pion's INIT chunk is no longer of the form that the template implies")
	}
	own.Ufrag = "a\r\na=x:y"
	if _, _, err := a.Answer(t.Context(), "x", own); err == nil {
		t.Error("took a user that breaks out of the SDP")
	}
}
