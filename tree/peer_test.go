package tree

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no name":      {},
		"long name":    {Self: NodeID(make([]byte, maxID+1))},
		"long contact": {Self: "a", Contact: make([]byte, maxContact+1)},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// attachedPeer is a node at layer 1 below "root".
func attachedPeer(t testing.TB, slots int) (*Peer, time.Time) {
	p, err := New(Config{Self: "self", Slots: slots, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	p.Step(now, HeadSeen{Head{Seq: 1, Entries: []Entry{{Node: "root", Opening: 1}}}})
	p.Step(now, AnswerReceived{Offer: p.seek.offer, From: "root", Verdict: Accepted, Path: []NodeID{"root"}})
	p.Step(now, LinkUp{"root"})
	p.Step(now, MessageReceived{"root", Path{Stamp: 1, Hops: []Hop{{Node: "root"}}}})
	p.Step(now, Flowing{"root"})
	if !p.View().Attached {
		t.Fatal("not attached")
	}
	return p, now
}

// TestBoundedMemory: a flood of offers from ever new joiners leaves no more behind than
// the stated bounds.
func TestBoundedMemory(t *testing.T) {
	p, now := attachedPeer(t, 2)
	p.Step(now, OfferReceived{Offer{ID: 1, Joiner: "kid", Below: 1}})
	p.Step(now, LinkUp{"kid"})
	p.Step(now, MessageReceived{"kid", Sum{Layers: []uint32{1}, Open: []uint32{2 * maxHanded}}})
	for i := range maxHeld + 1000 {
		p.Step(now, OfferReceived{Offer{ID: 1, Joiner: NodeID(fmt.Sprint("j", i)), Below: 1, Raw: make([]byte, 100)}})
	}
	if len(p.held) > maxHeld || len(p.heldOrder) > maxHeld {
		t.Errorf("%d offers held, want at most %d", len(p.held), maxHeld)
	}
	if n := len(p.kid("kid").handed); n > maxHanded {
		t.Errorf("%d offers handed to a child that does not answer, want at most %d", n, maxHanded)
	}
	for i := range 100 {
		p.ban(NodeID(fmt.Sprint("b", i)))
	}
	for i := range 100 {
		p.unwelcome(NodeID(fmt.Sprint("b", i)), time.Hour)
	}
	if len(p.banned) > maxBans || len(p.unheard) > maxBans {
		t.Errorf("%d bans, %d whose offers are not heard", len(p.banned), len(p.unheard))
	}
}

// TestSameInputsSameActions: two Peers that are told the same do the same.
func TestSameInputsSameActions(t *testing.T) {
	run := func() (out []string) {
		p, now := attachedPeer(t, 2)
		for i := range 50 {
			now = now.Add(37 * time.Millisecond)
			events := []Event{
				OfferReceived{Offer{ID: OfferID(i), Joiner: NodeID(fmt.Sprint(i % 5)), Below: 1}},
				LinkUp{NodeID(fmt.Sprint(i % 5))},
				MessageReceived{NodeID(fmt.Sprint(i % 5)), Sum{Layers: []uint32{1}, Open: []uint32{uint32(i % 3)}}},
				Silent{"root", 300 * time.Millisecond},
				nil,
			}
			for _, a := range p.Step(now, events[i%len(events)]) {
				out = append(out, fmt.Sprintf("%#v", a))
			}
		}
		return out
	}
	if a, b := run(), run(); !slices.Equal(a, b) {
		t.Error("two runs differ")
	}
}

// FuzzPeer throws events at a Peer that is attached, in any order and from anybody,
// and checks what must hold whatever happens.
func FuzzPeer(f *testing.F) {
	f.Add([]byte{2, 10, 0, 3, 1, 0, 6, 1, 0, 9, 0, 1, 4, 2, 2})
	f.Add([]byte{2, 1, 0, 3, 1, 0, 6, 1, 0, 9, 0, 40, 4, 0, 0, 1, 3, 0, 4, 3, 0, 2, 3, 1, 5, 3, 3})
	f.Add([]byte{0, 1, 9, 9, 0, 15, 0, 2, 9, 0, 3, 9, 4, 2, 0, 0x18, 2, 0, 14, 2, 60, 9, 0, 50, 0, 1, 10})
	f.Add(slices.Repeat([]byte{9, 0, 30, 0, 1, 2, 4, 1, 2}, 8))
	f.Fuzz(func(t *testing.T, script []byte) {
		p, now := attachedPeer(t, 2)
		names := []NodeID{"root", "a", "b", "c", "d", "self", ""}
		for ; len(script) >= 3; script = script[3:] {
			op, x, y := script[0], script[1], script[2]
			who, other := names[int(x)%len(names)], names[int(y)%len(names)]
			now = now.Add(time.Duration(op) * time.Millisecond)
			n := uint64(y)
			var m Message
			switch op >> 4 {
			case 0:
				m = Path{Stamp: n, Hops: []Hop{{Node: other}, {Node: who}}}
			case 1:
				m = Sum{Seen: n, Layers: []uint32{1, uint32(n)}, Open: []uint32{uint32(n) & 3, uint32(n) >> 2}}
			case 2:
				m = HandDown{Num: n, Hops: int(n) % 70, Deepest: int(n), Offer: Offer{ID: OfferID(n), Joiner: other, Below: int(n)}}
			case 3:
				m = NoRoom{Joiner: other, Offer: OfferID(n)}
			case 4:
				m = Leaving{}
			case 5:
				m = Gone{}
			case 6:
				m = Fresh{}
			case 7:
				m = Beat{Stamp: n}
			case 8:
				m = HandUp{Hops: int(n) % 70, Deepest: int(n), Offer: Offer{ID: OfferID(n), Joiner: other, Purpose: ToMove + Purpose(n&1), Avoid: who, Slots: int(n)}}
			case 9:
				m = Reply{Joiner: other, Offer: p.spare.offer}
			case 10:
				m = Stand{Parent: other}
			case 11:
				m = Move{}
			default:
				m = HeadDown{Stamp: n, Head: Head{Seq: n, Entries: []Entry{{Node: other, Opening: int(n) % 70}}}}
			}
			var ev Event
			switch op & 15 {
			case 0, 1, 2:
				ev = OfferReceived{Offer{ID: OfferID(n), Joiner: who, Below: 1 + int(n&3), Avoid: other, Slots: int(n)}}
			case 3:
				ev = AnswerReceived{Offer: cmp.Or(p.seek.offer, p.spare.offer), From: who, Verdict: Accepted, Path: []NodeID{other, who}}
			case 4:
				ev = LinkUp{who}
			case 5:
				ev = LinkDown{who}
			case 6:
				ev = Flowing{who}
			case 7:
				ev = Silent{who, time.Duration(y) * 10 * time.Millisecond}
			case 8:
				ev = Starved{who, time.Duration(y) * 100 * time.Millisecond}
			case 9:
				now = now.Add(time.Duration(y) * 100 * time.Millisecond)
			case 10:
				ev = SetSlots{int(y) - 2}
			case 12:
				ev = Poor{who}
			case 13:
				ev = Relocated{}
			case 14:
				ev = Idle{who, time.Duration(y) * 100 * time.Millisecond}
			case 11:
				switch y {
				case 1:
					ev = Leave{}
				case 2:
					ev = Unwelcome{who, time.Minute}
				}
			default:
				ev = MessageReceived{who, m}
			}
			check(t, p, now, ev)
		}
		// Left alone, it sleeps or does something at each wake-up; it never spins.
		for range 200 {
			d := p.Deadline()
			if d.IsZero() {
				return
			}
			now = later(now, d)
			check(t, p, now, nil)
			if next := p.Deadline(); !next.IsZero() && !next.After(now) {
				t.Fatalf("woken at %v, wants to be woken at %v", now, next)
			}
		}
	})
}

func check(t *testing.T, p *Peer, now time.Time, ev Event) {
	t.Helper()
	before := len(p.kids)
	for _, a := range p.Step(now, ev) {
		switch a := a.(type) {
		case Answer:
			if a.Verdict == Accepted && (slices.Contains(a.Path[:len(a.Path)-1], a.Offer.Joiner) || a.Offer.Joiner == "self") {
				t.Fatalf("took %q, which is above", a.Offer.Joiner)
			}
		case Attach:
			if a.Parent == "self" || p.kid(a.Parent) != nil {
				t.Fatalf("attached to %q, which is below", a.Parent)
			}
		}
	}
	if len(p.kids) > max(2*p.slots, 1, before) {
		t.Fatalf("%d children in %d slots", len(p.kids), p.slots)
	}
	if slices.ContainsFunc(p.path, func(h Hop) bool { return h.Node == "self" }) {
		t.Fatal("stands below itself")
	}
	if len(p.held) > maxHeld {
		t.Fatalf("%d offers held", len(p.held))
	}
}
