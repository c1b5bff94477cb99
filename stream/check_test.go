package stream

import (
	"context"
	"crypto/ed25519"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// signedPublisher is testPublisher with signatures, and a key for those who check them.
func signedPublisher(t testing.TB, h *History, c Catalog) (*Publisher, *Sealer, ed25519.PublicKey) {
	t.Helper()
	s, err := NewSealer([16]byte{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	p := NewPublisher(h, s)
	p.Sign(testKey())
	if err := p.SetTracks(c); err != nil {
		t.Fatal(err)
	}
	return p, s, testKey().Public().(ed25519.PublicKey)
}

// checked carries what a speaker sends to a far node that checks it, by way of hop, and
// returns what is played there.
func checked(t *testing.T, n int, hop func(far *History, p Packet)) (got map[Track][]Sample, far *History) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		src := NewHistory(ID{9}, HistoryConfig{})
		pub, seal, key := signedPublisher(t, src, testCatalog())
		far = NewHistory(ID{9}, HistoryConfig{Key: key})
		play := NewPlayer(far, seal, PlayerConfig{})
		defer play.Close()
		c := src.CursorAt(nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			carry := func() {
				for _, p := range drain(t, c) {
					p.At = time.Now()
					hop(far, p)
				}
			}
			speak(t, pub, n, carry)
			if err := pub.Close(); err != nil {
				t.Error(err)
			}
			carry()
			time.Sleep(time.Second)
			far.End()
		}()
		got = collectTimes(t, play)
		<-done
	})
	return got, far
}

// collectTimes is collect that keeps when a packet came; Time becomes how many
// milliseconds it was held.
func collectTimes(t *testing.T, p *Player) map[Track][]Sample {
	t.Helper()
	out := map[Track][]Sample{}
	for {
		ss, err := p.Next(context.Background())
		if err != nil {
			return out
		}
		for _, s := range ss {
			s.Time = uint32(time.Since(s.At).Milliseconds())
			out[s.Track] = append(out[s.Track], s)
		}
	}
}

func put(far *History, p Packet) { far.Put(p, false) }

// forged is p with one bit changed, whose seal still opens for who has the room's key: a
// relay has it.
func forged(p Packet, s *Sealer) Packet {
	p.Wire = s.Seal(p.Header, []byte("forged"))
	return p
}

func wantPlayed(t *testing.T, got map[Track][]Sample, video, audio uint64) {
	t.Helper()
	wantNumbers(t, "video", sampleNumbers(got[1]), run(0, video))
	wantNumbers(t, "audio", sampleNumbers(got[2]), run(0, audio))
	for _, ss := range got {
		for _, s := range ss {
			if string(s.Payload) == "forged" {
				t.Errorf("a forged packet was played: track %d, number %d", s.Track, s.Number)
			}
		}
	}
}

func wantCounts(t *testing.T, h *History, tr Track, received, lost, forged uint64) {
	t.Helper()
	if s := statsOf(h, tr); s.Received != received || s.Lost != lost || s.Forged != forged {
		t.Errorf("track %d: received %d, lost %d, forged %d; want %d, %d, %d",
			tr, s.Received, s.Lost, s.Forged, received, lost, forged)
	}
}

func TestSignedIsPlayedWithin110ms(t *testing.T) {
	got, far := checked(t, 400, put)
	wantPlayed(t, got, 400, 200)
	var held []uint32
	for _, s := range got[1] {
		held = append(held, s.Time)
	}
	slices.Sort(held)
	if p99 := held[len(held)*99/100]; p99 > 110 {
		t.Errorf("held for %d ms (p99)", p99)
	}
	// The picture moves as evenly as it came: a frame each 20 ms.
	for i := 2; i < len(got[1])-20; i += 2 {
		at := func(i int) time.Time {
			return got[1][i].At.Add(time.Duration(got[1][i].Time) * time.Millisecond)
		}
		if d := at(i).Sub(at(i - 2)); d > 30*time.Millisecond && i > 30 {
			t.Errorf("number %d comes %v after the frame before", i, d)
		}
	}
	wantCounts(t, far, 1, 400, 0, 0)
}

func TestUnsignedIsNotPlayed(t *testing.T) {
	served := 0
	got, _ := checked(t, 300, func(far *History, p Packet) {
		if p.Track != ManifestTrack {
			put(far, p)
		}
		// Nor is it passed on once it is a second old.
		for _, q := range drain(t, far.CursorAt(map[Track]uint64{1: 1, 2: 1})) {
			served++
			if age := time.Since(q.At); age > unproven {
				t.Fatalf("passed on after %v, and nobody vouches for it", age)
			}
		}
	})
	if served == 0 {
		t.Error("nothing was passed on at once")
	}
	if len(got[1])+len(got[2]) > 0 {
		t.Errorf("%d samples played that nobody vouches for", len(got[1])+len(got[2]))
	}
}

// TestForged puts what a forging relay may make of one packet in five, and the real one
// when it is asked for.
func TestForged(t *testing.T) {
	seal, err := NewSealer([16]byte{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var held []Packet
	for name, forge := range map[string]func(Packet) []Packet{
		"reordered": func(p Packet) []Packet {
			out := held
			held = []Packet{p}
			return out
		},
		"changed": func(p Packet) []Packet { return []Packet{forged(p, seal)} },
		"truncated": func(p Packet) []Packet {
			p.Wire = p.Wire[:HeaderSize]
			return []Packet{p}
		},
		"replayed under another number": func(p Packet) []Packet {
			q := p
			q.Number += 3
			return []Packet{p, forged(q, seal)}
		},
		"numbers far ahead": func(p Packet) []Packet {
			q := p
			q.Number += 3000
			q.KeyStart = true
			return []Packet{forged(q, seal), p}
		},
		"numbers absurdly ahead": func(p Packet) []Packet {
			q := p
			q.Number += 1 << 40
			return []Packet{forged(q, seal), p}
		},
		"another header": func(p Packet) []Packet {
			p.KeyStart, p.Time = true, p.Time+90000
			return []Packet{forged(p, seal)}
		},
		"dropped": func(p Packet) []Packet { return nil },
		"twice":   func(p Packet) []Packet { return []Packet{p, p} },
	} {
		t.Run(name, func(t *testing.T) {
			real := map[promised]Packet{}
			got, far := checked(t, 400, func(far *History, p Packet) {
				p.Via = 1
				real[promised{p.Track, p.Number}] = p
				if p.Track == 1 && p.Number >= 10 && p.Number < 300 && p.Number%5 == 0 {
					for _, q := range forge(p) {
						far.Put(q, false)
					}
				} else {
					far.Put(p, false)
				}
				for _, r := range far.Want(p.At, 20*time.Millisecond, 40*time.Millisecond, 16) {
					for n := r.From; n < r.To; n++ { // another node has them
						if q, ok := real[promised{r.Track, n}]; ok {
							q.At, q.Via = p.At, 2
							far.Put(q, true)
						}
					}
				}
			})
			wantPlayed(t, got, 400, 200)
			s := statsOf(far, 1)
			if s.Received != 400 || s.Lost != 0 {
				t.Errorf("received %d, lost %d", s.Received, s.Lost)
			}
			fs, n := far.Forgeries(0)
			honest := name == "dropped" || name == "twice" || name == "reordered"
			if s.Forged != n || (n == 0) != (honest || name == "numbers absurdly ahead") {
				t.Errorf("%d forged, %d reported", s.Forged, n)
			}
			for _, f := range fs {
				if f.Via != 1 || f.Proof {
					t.Errorf("wrongly accused: %+v", f)
				}
			}
		})
	}
}

func TestForgedManifests(t *testing.T) {
	for name, forge := range map[string]func(Packet) Packet{
		"changed": func(p Packet) Packet {
			p.Wire = slices.Clone(p.Wire)
			p.Wire[HeaderSize+manifestHead+runHead] ^= 1
			return p
		},
		"truncated": func(p Packet) Packet {
			p.Wire = p.Wire[:len(p.Wire)-1]
			return p
		},
		"signed by another": func(p Packet) Packet {
			m, err := parseManifest(ID{9}, p.Wire)
			if err == nil {
				other := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
				p.Wire = m.seal(ID{9}, other)
			}
			return p
		},
		"under another number": func(p Packet) Packet {
			h := manifestHeader(ID{9}, 1, p.Number+1)
			p.Header, p.Wire = h, copyOf(p.Wire, h)
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			real := map[uint64]Packet{}
			got, far := checked(t, 400, func(far *History, p Packet) {
				p.Via = 1
				if p.Track == ManifestTrack {
					real[p.Number] = p
					if p.Number >= 4 && p.Number < 20 && p.Number%4 < 2 {
						far.Put(forge(p), false)
						return
					}
				}
				far.Put(p, false)
				for _, r := range far.Want(p.At, 20*time.Millisecond, 40*time.Millisecond, 16) {
					for n := r.From; n < r.To; n++ {
						if q, ok := real[n]; ok && r.Track == ManifestTrack {
							q.At, q.Via = p.At, 2
							far.Put(q, true)
						}
					}
				}
			})
			wantPlayed(t, got, 400, 200)
			wantCounts(t, far, 1, 400, 0, 0)
			fs, n := far.Forgeries(0)
			if n == 0 {
				t.Error("nothing noticed")
			}
			for _, f := range fs {
				if f.Track != ManifestTrack || f.Via != 1 || !f.Proof {
					t.Errorf("wrongly accused: %+v", f)
				}
			}
		})
	}
}

// TestManifestBandwidth holds DESIGN's figures for a picture of 2.5 Mbit/s and for sound
// of 64 kbit/s alone, each packet with what a hop adds.
func TestManifestBandwidth(t *testing.T) {
	const hop = 12 + 16 + 8 + 20 // RTP, SRTP tag, UDP, IPv4
	for _, tt := range []struct {
		name  string
		c     Catalog
		size  int
		every time.Duration
		most  float64 // percent
	}{
		{"video", testCatalog(), 2_500_000 / 8 / 337, time.Second / 337, 3.8},
		{"audio", Catalog{Tracks: testCatalog().Tracks[1:]}, 160, 20 * time.Millisecond, 25},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := NewHistory(ID{9}, HistoryConfig{})
			pub, _, _ := signedPublisher(t, h, tt.c)
			for n := range 1000 {
				if err := pub.Write(tt.c.Tracks[0].Track, 0, true, tt.name == "video" && n%337 == 0, make([]byte, tt.size)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.every)
			}
			media, signed := statsOf(h, tt.c.Tracks[0].Track), statsOf(h, ManifestTrack)
			share := 100 * float64(signed.Bytes+hop*signed.Received) / float64(uint64(tt.size)*media.Received)
			t.Logf("%s: manifests are %.2f%% of the payload", tt.name, share)
			if share > tt.most {
				t.Errorf("%s: %.2f%%, want at most %.1f%%", tt.name, share, tt.most)
			}
			if err := pub.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestForgedStart is a joiner whose parent sends junk before all else: it must come to
// itself once it has another.
func TestForgedStart(t *testing.T) {
	for _, n := range []uint64{0, 3000, 1 << 40} {
		synctest.Test(t, func(t *testing.T) {
			src := NewHistory(ID{9}, HistoryConfig{})
			pub, seal, key := signedPublisher(t, src, testCatalog())
			speak(t, pub, 200, nil)
			far := NewHistory(ID{9}, HistoryConfig{Key: key})
			for tr := Track(0); tr < 3; tr++ {
				far.Put(forged(Packet{Header: Header{Track: tr, Number: n, KeyStart: tr == 1}}, seal), false)
			}
			play := NewPlayer(far, seal, PlayerConfig{})
			defer play.Close()
			c := src.CursorAt(nil)
			go func() {
				speak(t, pub, 400, func() {
					for _, p := range drain(t, c) {
						p.At = time.Now()
						far.Put(p, false)
					}
				})
				pub.Close()
				for _, p := range drain(t, c) {
					far.Put(p, false)
				}
				far.End()
			}()
			got := collectTimes(t, play)
			if len(got[1]) < 200 || got[1][len(got[1])-1].Number != 599 || string(got[1][0].Payload) == "forged" {
				t.Errorf("after a false start at %d, %d packets are played", n, len(got[1]))
			}
		})
	}
}

// BenchmarkCheck is one packet through a History that checks, its share of the manifest
// included.
func BenchmarkCheck(b *testing.B) {
	src := NewHistory(ID{9}, HistoryConfig{})
	pub, _, key := signedPublisher(b, src, testCatalog())
	c := src.CursorAt(nil)
	payload := make([]byte, 900)
	var ps []Packet
	for n := range 34 * 200 {
		if err := pub.Write(1, 0, true, n == 0, payload); err != nil {
			b.Fatal(err)
		}
		if n%34 == 33 {
			pub.signDue()
			ps = append(ps, drainB(b, c)...)
		}
	}
	b.ReportAllocs()
	far := NewHistory(ID{9}, HistoryConfig{Key: key})
	i := 0
	for b.Loop() {
		if i == len(ps) {
			i, far = 0, NewHistory(ID{9}, HistoryConfig{Key: key})
		}
		far.Put(ps[i], false)
		i++
	}
	if n, _ := far.Proofs(); n == 0 && i > 100 {
		b.Fatal("nothing checked")
	}
}

func drainB(b *testing.B, c *Cursor) (out []Packet) {
	buf := make([]Packet, 64)
	for {
		n, err := c.Poll(buf)
		if err != nil {
			b.Fatal(err)
		}
		if n == 0 {
			return out
		}
		out = append(out, buf[:n]...)
	}
}
