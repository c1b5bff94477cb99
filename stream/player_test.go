package stream

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func testPublisher(t testing.TB, h *History) (*Publisher, *Sealer) {
	t.Helper()
	s, err := NewSealer([16]byte{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	p := NewPublisher(h, s)
	if err := p.SetTracks(testCatalog()); err != nil {
		t.Fatal(err)
	}
	return p, s
}

// speak writes n video packets, two a frame at 50 frames a second with a key start
// every 25 frames, and an audio packet a frame.
func speak(t testing.TB, p *Publisher, n int, each func()) {
	t.Helper()
	for i := range n {
		at := uint32(i/2) * 1800
		if err := p.Write(1, at, i%2 == 1, i%50 == 0, []byte{byte(i)}); err != nil {
			t.Error(err)
		}
		if i%2 == 0 {
			if err := p.Write(2, uint32(i/2)*960, true, false, []byte{byte(i / 2)}); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(10 * time.Millisecond)
		if each != nil {
			each()
		}
	}
}

// collect reads p to the end.
func collect(t *testing.T, p *Player) map[Track][]Sample {
	t.Helper()
	out := map[Track][]Sample{}
	for {
		ss, err := p.Next(context.Background())
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Error(err)
			return out
		}
		for _, s := range ss {
			s.At = time.Now()
			out[s.Track] = append(out[s.Track], s)
		}
	}
}

func sampleNumbers(ss []Sample) (out []uint64) {
	for _, s := range ss {
		out = append(out, s.Number)
	}
	return out
}

func TestPublishAndPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHistory(ID{9}, HistoryConfig{})
		pub, seal := testPublisher(t, h)
		speak(t, pub, 60, nil)
		play := NewPlayer(h, seal, PlayerConfig{})
		defer play.Close()
		c, err := play.Catalog(t.Context())
		if err != nil || len(c.Tracks) != 2 || c.Tracks[0] != testCatalog().Tracks[0] {
			t.Fatalf("%+v, %v", c, err)
		}
		go func() {
			speak(t, pub, 40, nil)
			pub.Close()
		}()
		got := collect(t, play)
		wantNumbers(t, "video from the last key start", sampleNumbers(got[1]), run(50, 100))
		wantNumbers(t, "audio live", sampleNumbers(got[2]), run(30, 50))
		if s := got[1][0]; !s.KeyStart || s.Gap || s.Time != 25*1800 || string(s.Payload) != string([]byte{50}) {
			t.Errorf("first sample %+v", s)
		}
		for {
			c, err = play.Catalog(t.Context())
			if err != nil {
				break
			}
		}
		if err != io.EOF {
			t.Errorf("catalog after the end: %v", err)
		}
		if err := pub.Write(1, 0, false, false, nil); err != ErrClosed {
			t.Errorf("written after the end: %v", err)
		}
	})
}

func TestPublisherRefuses(t *testing.T) {
	h := NewHistory(ID{}, HistoryConfig{})
	pub, _ := testPublisher(t, h)
	if err := pub.Write(3, 0, false, false, nil); err == nil {
		t.Error("wrote a track that is not in the catalog")
	}
	if err := pub.Write(1, 0, false, false, make([]byte, MaxPayload+1)); err == nil {
		t.Error("wrote a packet that is too long")
	}
	if err := pub.Write(1, 0, false, false, make([]byte, MaxPayload)); err != nil {
		t.Error(err)
	}
}

func TestPublisherConcurrent(t *testing.T) {
	h := NewHistory(ID{}, HistoryConfig{})
	pub, _ := testPublisher(t, h)
	var wg sync.WaitGroup
	for tr := Track(1); tr <= 2; tr++ {
		for range 4 {
			wg.Go(func() {
				for range 250 {
					if err := pub.Write(tr, 0, false, false, []byte("x")); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for tr := Track(1); tr <= 2; tr++ {
		if s := statsOf(h, tr); s.Received != 1000 || s.Next != 1000 || len(h.Missing(time.Now(), 0, 9)) > 0 {
			t.Errorf("track %d: %+v", tr, s)
		}
	}
}

func TestCatalogEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHistory(ID{}, HistoryConfig{})
		pub, _ := testPublisher(t, h)
		for range 500 {
			if err := pub.Write(2, 0, true, false, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := statsOf(h, CatalogTrack).Received; n != 5 {
			t.Errorf("%d catalogs in 5 s", n)
		}
	})
}

// through plays src at a far node that gets its packets by hop.
func through(t *testing.T, cfg PlayerConfig, n int, hop func(far *History, i int, p Packet)) map[Track][]Sample {
	t.Helper()
	var got map[Track][]Sample
	synctest.Test(t, func(t *testing.T) {
		src, far := NewHistory(ID{}, HistoryConfig{}), NewHistory(ID{}, HistoryConfig{})
		pub, seal := testPublisher(t, src)
		play := NewPlayer(far, seal, cfg)
		defer play.Close()
		c := src.CursorAt(nil)
		go func() {
			i := 0
			carry := func() {
				for _, p := range drain(t, c) {
					p.At = time.Now()
					hop(far, i, p)
					i++
				}
			}
			speak(t, pub, n, carry)
			pub.Close()
			carry()
		}()
		got = collect(t, play)
	})
	return got
}

func TestPlayerOrdersAndGivesUp(t *testing.T) {
	var held []Packet
	got := through(t, PlayerConfig{}, 200, func(far *History, _ int, p Packet) {
		switch {
		case p.Track == 1 && p.Number == 20: // lost for good
		case p.Track == 1 && p.Number == 80: // comes 100 ms later
			held = append(held, p)
		default:
			far.Put(p, false)
		}
		if p.Track == 1 && p.Number == 90 {
			held[0].At = p.At
			far.Put(held[0], true)
		}
	})
	wantNumbers(t, "video", sampleNumbers(got[1]), append(run(0, 20), run(21, 200)...))
	for _, s := range got[1] {
		if s.Gap != (s.Number == 21) {
			t.Errorf("number %d: gap %v", s.Number, s.Gap)
		}
	}
	wantNumbers(t, "audio", sampleNumbers(got[2]), run(0, 100))
}

func TestPlayerWaitsForKeyStart(t *testing.T) {
	got := through(t, PlayerConfig{}, 120, func(far *History, i int, p Packet) {
		if p.Track == CatalogTrack || p.Number >= 10 && (p.Track != 1 || p.Number != 50) {
			far.Put(p, false)
		}
	})
	wantNumbers(t, "video", sampleNumbers(got[1]), run(100, 120))
	if first := got[2][0].Number; first < 49 {
		t.Errorf("sound from before the picture: %d", first)
	}
}

func TestPlayerDelayAbsorbsOutage(t *testing.T) {
	var held []Packet
	got := through(t, PlayerConfig{Delay: 500 * time.Millisecond}, 400, func(far *History, _ int, p Packet) {
		if p.Track == 1 && p.Number >= 200 && p.Number < 240 { // 400 ms of nothing, then all at once
			held = append(held, p)
			return
		}
		for _, q := range held {
			q.At = p.At
			far.Put(q, true)
		}
		held = nil
		far.Put(p, false)
	})
	wantNumbers(t, "video", sampleNumbers(got[1]), run(0, 400))
	for i := 3; i < len(got[1]); i++ {
		if d := got[1][i].At.Sub(got[1][i-2].At); d > 25*time.Millisecond {
			t.Errorf("a pause of %v before number %d", d, got[1][i].Number)
		}
	}
	if slices.ContainsFunc(got[1], func(s Sample) bool { return s.Gap }) {
		t.Error("a gap")
	}
}

func TestPlayerIgnoresForged(t *testing.T) {
	got := through(t, PlayerConfig{}, 100, func(far *History, _ int, p Packet) {
		if p.Track == 1 && p.Number == 30 {
			p.Wire = slices.Clone(p.Wire)
			p.Wire[len(p.Wire)-1] ^= 1
		}
		far.Put(p, false)
	})
	wantNumbers(t, "video", sampleNumbers(got[1]), append(run(0, 30), run(31, 100)...))
}

// BenchmarkPlayer is a packet on its way through a history to a player: sealed, put, opened,
// in order, due.
func BenchmarkPlayer(b *testing.B) {
	h := NewHistory(ID{1}, HistoryConfig{})
	pub, seal := testPublisher(b, h)
	defer pub.Close()
	p := NewPlayer(h, seal, PlayerConfig{})
	defer p.Close()
	payload := make([]byte, MaxPayload)
	var out []Sample
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		err := pub.Write(1, i*360, true, i%250 == 0, payload)
		if err != nil {
			b.Fatal(err)
		}
		if out, _, err = p.Due(time.Now(), out[:0]); err != nil || len(out) != 1 {
			b.Fatalf("%d packets are due: %v", len(out), err)
		}
	}
}
