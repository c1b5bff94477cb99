package stream

import (
	"errors"
	"testing"
	"time"
)

// The speaker changes its key at the first group after the time, or a second later at the
// latest; listeners read on, and who has only the old key does not.
func TestReseal(t *testing.T) {
	for _, keys := range []bool{true, false} {
		id := ID{1}
		seal, err := NewSealer([16]byte{1}, 1)
		if err != nil {
			t.Fatal(err)
		}
		listener, removed := mustSealer(t, 1), mustSealer(t, 1)
		h := NewHistory(id, HistoryConfig{})
		p := NewPublisher(h, seal)
		if err := p.SetTracks(Catalog{Tracks: []TrackInfo{{Track: 1, Kind: "video", Codec: "VP8", ClockRate: 90000}}}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(seal.Add([16]byte{2}, 2), listener.Add([16]byte{2}, 2)); err != nil {
			t.Fatal(err)
		}
		write := func(key bool, epoch uint8) {
			t.Helper()
			if err := p.Write(1, 0, true, key, []byte("x")); err != nil {
				t.Fatal(err)
			}
			got, ok := h.Get(1, h.Marks()[1]-1)
			if !ok || got.Epoch != epoch {
				t.Fatalf("sealed in epoch %d, not %d", got.Epoch, epoch)
			}
			if _, err := listener.Open(nil, got.Wire); err != nil {
				t.Errorf("a listener can't read epoch %d: %v", epoch, err)
			}
			if _, err := removed.Open(nil, got.Wire); (err == nil) != (epoch == 1) {
				t.Errorf("who was removed, in epoch %d: %v", epoch, err)
			}
		}
		write(true, 1) // the key is there, but it is not time
		p.Reseal(time.Now().Add(time.Hour))
		write(true, 1)
		if keys {
			p.Reseal(time.Now().Add(-time.Millisecond))
			write(false, 1)
			write(true, 2)
		} else {
			p.Reseal(time.Now().Add(-resealWithin))
		}
		write(false, 2)
		// A third epoch, while the second is in use.
		if err := errors.Join(seal.Add([16]byte{3}, 3), listener.Add([16]byte{3}, 3)); err != nil {
			t.Fatal(err)
		}
		write(true, 2)
		p.Reseal(time.Now().Add(-time.Millisecond))
		write(true, 3)
	}
}

func mustSealer(t *testing.T, epoch uint16) *Sealer {
	t.Helper()
	s, err := NewSealer([16]byte{byte(epoch)}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
