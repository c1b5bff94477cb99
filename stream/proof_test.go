package stream

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestProofForALateJoiner joins by a relay that checks: what the joiner is given first
// must prove all that it shows, from the first packet on.
func TestProofForALateJoiner(t *testing.T) {
	for _, c := range []Catalog{testCatalog(), {Tracks: testCatalog().Tracks[1:]}} {
		synctest.Test(t, func(t *testing.T) {
			src := NewHistory(ID{9}, HistoryConfig{})
			pub, seal, key := signedPublisher(t, src, c)
			relay := NewHistory(ID{9}, HistoryConfig{Key: key})
			up := src.CursorAt(nil)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range 1000 {
				for _, tr := range c.Tracks {
					if err := pub.Write(tr.Track, uint32(i*90), false, tr.Track == 1 && i%300 == 0, []byte{byte(i)}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(5 * time.Millisecond)
				ps := drain(t, up)
				r.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
				for _, p := range ps {
					p.At = time.Now()
					relay.Put(p, false)
				}
				if i < 100 || i%97 > 0 {
					continue
				}
				for name, h := range map[string]*History{"speaker": src, "relay": relay} {
					joiner := NewHistory(ID{9}, HistoryConfig{Key: key})
					burst := drain(t, h.CursorAt(nil))
					for _, p := range burst {
						joiner.Put(p, false)
					}
					if w := joiner.Missing(time.Now(), 0, 16); len(w) > 0 && h == src {
						t.Errorf("from the %s, packet %d: %v is missing", name, i, w)
					}
					if len(c.Tracks) == 1 {
						continue // nothing to show yet: sound begins live
					}
					play := NewPlayer(joiner, seal, PlayerConfig{})
					first, ok := time.Time{}, false
					for _, p := range drain(t, joiner.Proven()) {
						if p.Track == 1 && !ok {
							first, ok = p.At, p.KeyStart
							if !ok || p.Number != uint64(i-i%300) {
								t.Errorf("from the %s, packet %d: the first proven is %d", name, i, p.Number)
							}
						}
					}
					if fresh := i%300 < 25; !ok && !fresh {
						t.Errorf("from the %s, packet %d of %d: nothing of the group is proven (%v)", name, i, len(burst), first)
					}
					play.Close()
				}
			}
			if err := pub.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The parent dies; the next one goes on from what is held, old manifests first. A packet that
// came just before, and whose manifest did not, is nobody's forgery.
func TestProofAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := NewHistory(ID{9}, HistoryConfig{Bytes: 1 << 20})
		pub, _, key := signedPublisher(t, src, testCatalog())
		far := NewHistory(ID{9}, HistoryConfig{Key: key})
		var sent []Packet
		c := src.CursorAt(nil)
		speak(t, pub, 500, func() { sent = append(sent, drain(t, c)...) })
		take := func(ps []Packet) {
			for _, p := range ps {
				p.At = time.Now()
				far.Put(p, false)
			}
		}
		const pause, further = 300, 150 // packets
		take(sent[:pause])
		ahead := slices.IndexFunc(sent[pause+further:], func(p Packet) bool { return p.Track == 1 })
		take(sent[pause+further+ahead:][:1])
		time.Sleep(6 * time.Second)
		for i := pause; i < len(sent); i += 10 {
			take(sent[i:min(i+10, len(sent))])
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		wantCounts(t, far, 1, 500, statsOf(far, 1).Lost, 0)
		wantCounts(t, far, 2, 250, statsOf(far, 2).Lost, 0)
	})
}

// A newcomer hears of the first packets, by a manifest and by its parent's word, before any
// has come: it begins with the next key start. What went before is not lost.
func TestWordBeforeTheFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := NewHistory(ID{9}, HistoryConfig{})
		pub, _, key := signedPublisher(t, src, testCatalog())
		far := NewHistory(ID{9}, HistoryConfig{Key: key})
		c := src.CursorAt(nil)
		const before, further = 85, 300
		begun := false
		speak(t, pub, before+further, func() {
			for _, p := range drain(t, c) {
				begun = begun || p.Track == 1 && p.Number >= before
				if p.At = time.Now(); begun || p.Track == ManifestTrack {
					far.Put(p, false)
				}
			}
			far.Expect(src.Marks(), time.Now())
		})
		if s := statsOf(far, 1); s.Lost != 0 || s.Received != further {
			t.Errorf("%d lost, %d received of %d", s.Lost, s.Received, further)
		}
	})
}
