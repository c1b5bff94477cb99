package stream

import (
	"testing"
	"time"
)

// A reader that is too slow goes on at the newest key start that it has not had, else
// live, where video waits for the next one and sound does not.
func TestCursorSkips(t *testing.T) {
	const video, sound = 1, 2
	start := time.Now()
	h := NewHistory(ID{1}, HistoryConfig{})
	numbers := Marks{}
	put := func(track Track, key bool) {
		h.Put(Packet{Header: Header{Track: track, Number: numbers[track], KeyStart: key}, Wire: make([]byte, 100), At: start}, false)
		numbers[track]++
	}
	group := func() {
		for i := range 5 {
			put(video, i == 0)
			put(sound, false)
		}
	}
	read := func(c *Cursor) (got Marks) {
		buf := make([]Packet, 64)
		n, err := c.Poll(buf)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range buf[:n] {
			if got[p.Track] == 0 {
				got[p.Track] = p.Number + 1 // the first
			}
		}
		return got
	}
	put(video, true)
	c := h.CursorAt(nil)
	if lag := c.Lag(start.Add(time.Second)); lag != time.Second {
		t.Errorf("lag %v, want 1 s", lag)
	}
	read(c)
	if lag := c.Lag(start.Add(time.Second)); lag != 0 {
		t.Errorf("lag %v with nothing to read", lag)
	}

	group()
	group() // video 6 begins it
	c.Skip(time.Time{})
	if got := read(c); got != (Marks{video: 7, sound: 6}) || c.Skipped() != 10 {
		t.Errorf("reads on at %v, %d skipped; want the newest key start", got, c.Skipped())
	}

	put(video, false)
	put(sound, false)
	c.Skip(time.Time{})
	put(video, false)
	put(sound, false)
	if got := read(c); got != (Marks{sound: 12}) || c.Skipped() != 13 {
		t.Errorf("reads on at %v, %d skipped; want live sound only", got, c.Skipped())
	}
	group()
	if got := read(c); got != (Marks{video: 14, sound: 13}) || c.Skipped() != 13 {
		t.Errorf("reads on at %v, %d skipped; want the next key start", got, c.Skipped())
	}

	group() // video 18
	c.Skip(start.Add(time.Millisecond))
	put(sound, false)
	if got := read(c); got != (Marks{sound: 23}) {
		t.Errorf("reads on at %v; want live sound only, as the key start is too old", got)
	}
}
