package stream

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pkt(t Track, n uint64, key bool, at time.Duration) Packet {
	return Packet{Header: Header{Track: t, Number: n, KeyStart: key}, Wire: make([]byte, 100), At: epoch.Add(at)}
}

func numbers(ps []Packet, t Track) []uint64 {
	var out []uint64
	for _, p := range ps {
		if p.Track == t {
			out = append(out, p.Number)
		}
	}
	return out
}

// drain reads all that c has now.
func drain(t *testing.T, c *Cursor) []Packet {
	t.Helper()
	var out []Packet
	buf := make([]Packet, 7)
	for {
		n, err := c.Poll(buf)
		if err != nil || n == 0 {
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			return out
		}
		out = append(out, buf[:n]...)
	}
}

func run(from, to uint64) []uint64 {
	var out []uint64
	for n := from; n < to; n++ {
		out = append(out, n)
	}
	return out
}

func wantNumbers(t *testing.T, what string, got, want []uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func statsOf(h *History, t Track) TrackStats {
	for _, s := range h.Stats() {
		if s.Track == t {
			return s
		}
	}
	return TrackStats{}
}

func TestPutCounts(t *testing.T) {
	type put struct {
		n    uint64
		at   time.Duration
		rep  bool
		want bool
	}
	const ms = time.Millisecond
	tests := []struct {
		name                     string
		puts                     []put
		received, lost, rep, dup uint64
		next                     uint64
		missingAt                time.Duration
		missing                  []Range
	}{
		{name: "in order", puts: []put{{0, 0, false, true}, {1, 0, false, true}}, received: 2, next: 2},
		{name: "duplicate", puts: []put{{5, 0, false, true}, {5, 0, false, false}}, received: 1, dup: 1, next: 6},
		{name: "late join loses nothing before", puts: []put{{1000, 0, false, true}, {1001, 5 * time.Second, false, true}}, received: 2, next: 1002},
		{
			name: "reordered start", puts: []put{{103, 0, false, true}, {100, ms, false, true}, {101, ms, false, true}},
			received: 3, next: 104, missingAt: 50 * ms, missing: []Range{{1, 102, 103}},
		},
		{
			name: "far below the start", puts: []put{{9000, 0, false, true}, {100, ms, false, false}},
			received: 1, dup: 1, next: 9001,
		},
		{
			name: "below the start, too late", puts: []put{{100, 0, false, true}, {99, 3 * time.Second, false, false}},
			received: 1, dup: 1, next: 101,
		},
		{
			name: "hole, young", puts: []put{{0, 0, false, true}, {3, 100 * ms, false, true}},
			received: 2, next: 4, missingAt: 120 * ms,
		},
		{
			name: "hole, asked for", puts: []put{{0, 0, false, true}, {3, 100 * ms, false, true}, {7, 100 * ms, false, true}},
			received: 3, next: 8, missingAt: 150 * ms, missing: []Range{{1, 1, 3}, {1, 4, 7}},
		},
		{
			name: "hole split and lost", puts: []put{{0, 0, false, true}, {5, 0, false, true}, {3, 10 * ms, true, true}, {6, 2100 * ms, false, true}},
			received: 4, next: 7, lost: 3, rep: 1,
		},
		{name: "absurd number", puts: []put{{7, 0, false, true}, {7 + 1<<17, ms, false, false}}, received: 1, next: 8},
		{
			name: "after a long sleep", puts: []put{{7, 0, false, true}, {8 + 1<<17, time.Minute, false, true}, {9 + 1<<17, time.Minute, false, true}},
			received: 3, next: 10 + 1<<17, lost: 1 << 17,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHistory(ID{}, HistoryConfig{})
			for _, p := range tt.puts {
				if got := h.Put(pkt(1, p.n, false, p.at), p.rep); got != p.want {
					t.Errorf("Put(%d) = %v", p.n, got)
				}
			}
			if tt.missingAt > 0 {
				if got := h.Missing(epoch.Add(tt.missingAt), 30*ms, 10); !slices.Equal(got, tt.missing) {
					t.Errorf("missing %v, want %v", got, tt.missing)
				}
			}
			s := h.tracks[1].stats
			if s.Received != tt.received || s.Lost != tt.lost || s.Repaired != tt.rep || s.Duplicates != tt.dup || h.Marks()[1] != tt.next {
				t.Errorf("got %+v, next %d; want %+v", s, h.Marks()[1], tt)
			}
		})
	}
}

func TestRepairedAfterAsking(t *testing.T) {
	h := NewHistory(ID{}, HistoryConfig{})
	h.Put(pkt(1, 0, false, 0), false)
	h.Put(pkt(1, 4, false, 0), false)
	h.Put(pkt(1, 1, false, time.Millisecond), false) // only reordered
	const ms = time.Millisecond
	var asked []int
	for at := 0; at < 1000; at += 10 {
		if got := h.Want(epoch.Add(time.Duration(at)*ms), 60*ms, 40*ms, 10); len(got) > 0 {
			asked = append(asked, at)
			if !slices.Equal(got, []Range{{1, 2, 4}}) {
				t.Fatal(got)
			}
		}
	}
	if want := []int{60, 100, 160, 240, 320, 400, 480, 560, 640, 720, 800, 880, 960}; !slices.Equal(asked, want) {
		t.Errorf("asked after %v ms, want %v", asked, want)
	}
	h.Put(pkt(1, 3, false, time.Second), false)
	if r := h.tracks[1].stats.Repaired; r != 1 {
		t.Errorf("repaired %d, want 1", r)
	}
}

// What the parent lacks it is not asked for again for a while, unless it may have been lost
// since or there is another parent.
func TestExcusedRests(t *testing.T) {
	const ms = time.Millisecond
	h := NewHistory(ID{}, HistoryConfig{})
	h.Put(pkt(1, 0, false, 0), false)
	h.Put(pkt(1, 4, false, 0), false)
	asked := func(at time.Duration) bool { return len(h.Want(epoch.Add(at), 60*ms, 40*ms, 10)) > 0 }
	if !asked(60 * ms) {
		t.Fatal("not asked for at all")
	}
	h.Excuse([]Range{{1, 1, 3}}, epoch.Add(80*ms))
	if asked(1000 * ms) {
		t.Error("asked for while the parent lacks it")
	}
	if !asked(1080 * ms) {
		t.Error("never asked for again")
	}
	h.Excuse([]Range{{1, 1, 3}}, epoch.Add(1090*ms))
	h.AskAgain()
	if !asked(1100 * ms) {
		t.Error("not asked for although it may be there by now")
	}
}

func TestExpect(t *testing.T) {
	h := NewHistory(ID{}, HistoryConfig{})
	h.Expect(Marks{1: 10}, epoch) // nothing known of the track: joined late
	h.Put(pkt(1, 5, false, 0), false)
	h.Expect(Marks{1: 8}, epoch)
	if got := h.Missing(epoch, 0, 9); !slices.Equal(got, []Range{{1, 6, 8}}) {
		t.Fatalf("missing %v", got)
	}
	if !h.Put(pkt(1, 7, false, 0), false) || !h.Put(pkt(1, 6, false, 0), false) || h.Put(pkt(1, 6, false, 0), false) {
		t.Fatal("expected packets are not taken once each")
	}
	h.Expect(Marks{1: 1 << 40}, epoch)
	if h.Marks()[1] != 8 {
		t.Fatal("an absurd promise was believed")
	}
}

// TestHistoryProperties puts packets with duplicates, loss and reordering, and checks
// what must hold whatever came.
func TestHistoryProperties(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		h := NewHistory(ID{}, HistoryConfig{Bytes: 60_000 + int(seed)*20_000})
		c := h.CursorAt(nil)
		came := map[[2]uint64]bool{}
		var read, sent uint64
		start := uint64(r.IntN(5000))
		for i := range uint64(6000) {
			tr := Track(1 + r.IntN(2))
			n := start + i
			switch r.IntN(10) {
			case 0:
				n -= min(n, uint64(r.IntN(40)))
			case 1:
				continue
			}
			before := statsOf(h, tr).Received
			isNew := h.Put(pkt(tr, n, i%100 == 0, time.Duration(i)*time.Millisecond), false)
			if isNew == came[[2]uint64{uint64(tr), n}] && isNew {
				t.Fatalf("seed %d: number %d of track %d taken twice", seed, n, tr)
			}
			if isNew {
				sent++
				came[[2]uint64{uint64(tr), n}] = true
				if p, ok := h.Get(tr, n); !ok || p.Number != n || p.Track != tr {
					t.Fatalf("seed %d: %d cannot be got", seed, n)
				}
				if statsOf(h, tr).Received != before+1 {
					t.Fatal("not counted")
				}
			}
			if h.bytes > h.limit {
				t.Fatalf("seed %d: %d bytes held", seed, h.bytes)
			}
			if r.IntN(50) == 0 {
				read += uint64(len(drain(t, c)))
			}
		}
		read += uint64(len(drain(t, c)))
		if read+c.Skipped() != sent {
			t.Fatalf("seed %d: %d read and %d skipped of %d", seed, read, c.Skipped(), sent)
		}
		for tr := Track(1); tr <= 2; tr++ {
			for _, m := range h.Missing(epoch.Add(6*time.Second), 0, 1000) {
				for n := m.From; n < m.To; n++ {
					if came[[2]uint64{uint64(m.Track), n}] {
						t.Fatalf("seed %d: %d came and is missing", seed, n)
					}
				}
			}
		}
	}
}

func TestCursorAt(t *testing.T) {
	h := NewHistory(ID{}, HistoryConfig{})
	put := func(tr Track, n uint64, key bool) {
		h.Put(Packet{Header: Header{Track: tr, Number: n, KeyStart: key}, Wire: []byte{1}}, false)
	}
	for n := range uint64(300) {
		switch {
		case n%100 == 51: // the packet after a key start overtakes it
			continue
		case n%100 == 50:
			put(CatalogTrack, n/100, false)
			put(1, n+1, false)
		}
		put(1, n, n%100 == 50)
		put(2, n, false)
	}
	fresh := h.CursorAt(nil)
	behind := h.CursorAt(map[Track]uint64{CatalogTrack: 3, 1: 290, 2: 280})
	level := h.CursorAt(h.Resume())
	put(1, 300, false)
	put(2, 300, false)

	got := drain(t, fresh)
	if got[0].Track != CatalogTrack || got[0].Number != 2 {
		t.Errorf("first comes %+v", got[0])
	}
	wantNumbers(t, "catalog", numbers(got, CatalogTrack), []uint64{2})
	video := numbers(got, 1)
	slices.Sort(video)
	wantNumbers(t, "video from the key start", video, run(250, 301))
	wantNumbers(t, "audio live", numbers(got, 2), []uint64{300})

	got = drain(t, behind)
	wantNumbers(t, "resumed video", numbers(got, 1), run(290, 301))
	wantNumbers(t, "resumed audio", numbers(got, 2), run(280, 301))
	wantNumbers(t, "catalog that is held", numbers(got, CatalogTrack), nil)

	got = drain(t, level)
	wantNumbers(t, "level", numbers(got, 1), []uint64{300})
}

func TestCursorAudioOnlyBeginsLive(t *testing.T) {
	h := NewHistory(ID{}, HistoryConfig{})
	for n := range uint64(50) {
		h.Put(pkt(2, n, false, 0), false)
	}
	c := h.CursorAt(nil)
	h.Put(pkt(2, 50, false, 0), false)
	wantNumbers(t, "audio", numbers(drain(t, c), 2), []uint64{50})
}

func TestResumeTooOldBeginsAtTheLastGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHistory(ID{}, HistoryConfig{})
		for n := range uint64(300) {
			h.Put(Packet{Header: Header{Track: 1, Number: n, KeyStart: n%100 == 0}}, false)
			time.Sleep(100 * time.Millisecond)
		}
		wantNumbers(t, "20 s ago", numbers(drain(t, h.CursorAt(map[Track]uint64{1: 100})), 1), run(200, 300))
		wantNumbers(t, "12 s ago", numbers(drain(t, h.CursorAt(map[Track]uint64{1: 180})), 1), run(180, 300))
	})
}

func TestSlowCursorSkipsToNewestKeyStart(t *testing.T) {
	h := NewHistory(ID{}, HistoryConfig{Bytes: 100 * (100 + packetCost)})
	slow, quick := h.CursorAt(nil), h.CursorAt(nil)
	var got []Packet
	for n := range uint64(1000) {
		h.Put(pkt(1, n, n%30 == 0, 0), false)
		got = append(got, drain(t, quick)...)
	}
	wantNumbers(t, "the quick one", numbers(got, 1), run(0, 1000))
	wantNumbers(t, "the slow one", numbers(drain(t, slow), 1), run(990, 1000))
	if slow.Skipped() != 990 || quick.Skipped() != 0 {
		t.Errorf("skipped %d and %d", slow.Skipped(), quick.Skipped())
	}
}

func TestCursorNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHistory(ID{}, HistoryConfig{})
		c := h.CursorAt(nil)
		buf := make([]Packet, 4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Next(ctx, buf); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if len(h.waiting) != 0 {
			t.Error("a cursor that gave up is still waited on")
		}
		got := make(chan uint64)
		go func() {
			defer close(got)
			for {
				n, err := c.Next(context.Background(), buf)
				if err == io.EOF {
					return
				}
				for _, p := range buf[:n] {
					got <- p.Number
				}
			}
		}()
		for n := range uint64(10) {
			synctest.Wait()
			h.Put(pkt(1, n, false, 0), false)
			if g := <-got; g != n {
				t.Fatalf("got %d, want %d", g, n)
			}
		}
		synctest.Wait()
		h.End()
		if _, ok := <-got; ok {
			t.Error("more after the end")
		}
		if h.Put(pkt(1, 10, false, 0), false) {
			t.Error("taken after the end")
		}
	})
}

func TestStarving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHistory(ID{}, HistoryConfig{})
		time.Sleep(time.Second)
		if d := h.Starving(time.Now()); d != time.Second {
			t.Errorf("starving for %v", d)
		}
		h.Alive(time.Now())
		time.Sleep(300 * time.Millisecond)
		if d := h.Starving(time.Now()); d != 300*time.Millisecond {
			t.Errorf("starving for %v", d)
		}
		s, err := NewSealer([16]byte{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		NewPublisher(h, s)
		if d := h.Starving(time.Now()); d != 0 {
			t.Errorf("the speaker starves for %v", d)
		}
	})
}

func TestBitrate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHistory(ID{}, HistoryConfig{})
		for n := range uint64(500) {
			h.Put(Packet{Header: Header{Track: 1, Number: n}, Wire: make([]byte, 1000)}, false)
			time.Sleep(10 * time.Millisecond)
		}
		if r := statsOf(h, 1).BitrateBPS; r < 780_000 || r > 820_000 {
			t.Errorf("%d bit/s, want about 800,000", r)
		}
		time.Sleep(time.Minute)
		if r := statsOf(h, 1).BitrateBPS; r > 100_000 {
			t.Errorf("%d bit/s after a minute of nothing", r)
		}
	})
}

// BenchmarkPutNext is one packet through a History with four children reading.
func BenchmarkPutNext(b *testing.B) {
	h := NewHistory(ID{}, HistoryConfig{Bytes: 4 << 20})
	var cs [4]*Cursor
	for i := range cs {
		cs[i] = h.CursorAt(nil)
	}
	wire := make([]byte, 1200)
	buf := make([]Packet, 16)
	now := time.Now()
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		h.Put(Packet{Header: Header{Track: 1, Number: n}, Wire: wire, At: now}, false)
		n++
		for _, c := range cs {
			if got, _ := c.Poll(buf); got != 1 {
				b.Fatal("lost")
			}
			c.Poll(buf)
		}
	}
}
