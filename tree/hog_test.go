package tree

import (
	"testing"
	"time"
)

// TestPromisesAreBounded: offers wait at promises whose joiners don't come. When these give
// way, to offers that come meanwhile and to those that have waited, a node promises no more
// than twice its slots all the same: all may come.
func TestPromisesAreBounded(t *testing.T) {
	p, err := New(Config{Self: "root", Root: true, Slots: 3, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1000, 0)
	p.Step(start, nil)
	id := OfferID(0)
	offer := func(at time.Duration, joiner string) {
		id++
		p.Step(start.Add(at), OfferReceived{Offer{ID: id, Joiner: NodeID(joiner), Below: 1, Slots: 4}})
		if len(p.kids) > 6 {
			t.Errorf("at %v, offer of %s: %d promises with 3 slots", at, joiner, len(p.kids))
		}
	}
	offer(0, "lapses")
	for i := range 2 {
		offer(500*time.Millisecond, "late"+string(rune('1'+i)))
	}
	for i := range 9 {
		offer(600*time.Millisecond, "waits"+string(rune('1'+i)))
	}
	if n := len(p.kid("late1").queue) + len(p.kid("late2").queue); n < 4 {
		t.Fatalf("%d offers wait, want some", n)
	}
	p.Step(start.Add(4*time.Second), nil)
	for i := range 10 {
		offer(4050*time.Millisecond, "new"+string(rune('a'+i)))
	}
	if len(p.kids) < 6 {
		t.Errorf("%d promises, want 6: nobody was kept out", len(p.kids))
	}
}
