package link

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// newSigner is a speaker whose stream can be checked with key.
func newSigner(t testing.TB) (s *speaker, key ed25519.PublicKey) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s = newSpeaker(t)
	s.h = stream.NewHistory(s.h.ID(), stream.HistoryConfig{})
	s.pub = stream.NewPublisher(s.h, s.seal)
	s.pub.Sign(private)
	err = s.pub.SetTracks(stream.Catalog{Tracks: []stream.TrackInfo{{Track: 1, Kind: "video", Codec: "H264", ClockRate: 90000}}})
	if err != nil {
		t.Fatal(err)
	}
	return s, pub
}

func (s *speaker) checking(key ed25519.PublicKey) *stream.History {
	return stream.NewHistory(s.h.ID(), stream.HistoryConfig{Key: key})
}

// forger passes on what it takes as forge has it, from when it is told to begin.
type forger struct {
	*node
	began chan struct{} // closed: it forges
	first chan time.Time
	done  chan struct{}
}

// newForger makes a relay between up (a link of its own) and those it serves h to.
func newForger(t *testing.T, n *node, in, out *stream.History, forge func(stream.Packet) []stream.Packet) *forger {
	f := &forger{node: n, began: make(chan struct{}), first: make(chan time.Time, 1), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	c := in.CursorAt(nil)
	go func() {
		defer close(f.done)
		buf := make([]stream.Packet, 16)
		for {
			k, err := c.Next(ctx, buf)
			if err != nil {
				return
			}
			for _, p := range buf[:k] {
				ps := []stream.Packet{p}
				select {
				case <-f.began:
					if ps = forge(p); len(ps) != 1 || ps[0].Number != p.Number || !slices.Equal(ps[0].Wire, p.Wire) {
						select {
						case f.first <- time.Now():
						default:
						}
					}
				default:
				}
				for _, q := range ps {
					out.Put(q, false)
				}
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-f.done })
	return f
}

const makesUp = "makes up numbers"

// forgeries are what a relay that knows the room's key may try.
func forgeries(seal *stream.Sealer, other ed25519.PrivateKey) map[string]func(stream.Packet) []stream.Packet {
	i := 0
	some := func(forge func(stream.Packet) []stream.Packet) func(stream.Packet) []stream.Packet {
		return func(p stream.Packet) []stream.Packet {
			if i++; p.Track != 1 || i%10 > 0 {
				return []stream.Packet{p}
			}
			return forge(p)
		}
	}
	manifests := func(forge func(stream.Packet) []stream.Packet) func(stream.Packet) []stream.Packet {
		return func(p stream.Packet) []stream.Packet {
			if p.Track != stream.ManifestTrack {
				return []stream.Packet{p}
			}
			return forge(p)
		}
	}
	changed := func(p stream.Packet) []stream.Packet {
		p.Wire = slices.Clone(p.Wire)
		p.Wire[len(p.Wire)/2] ^= 1
		return []stream.Packet{p}
	}
	var held, last stream.Packet
	madeUp := false
	return map[string]func(stream.Packet) []stream.Packet{
		"changes packets": some(func(p stream.Packet) []stream.Packet {
			p.Wire = seal.Seal(p.Header, []byte("forged"))
			return []stream.Packet{p}
		}),
		"truncates packets": some(func(p stream.Packet) []stream.Packet {
			p.Wire = p.Wire[:len(p.Wire)-3]
			return []stream.Packet{p}
		}),
		"replays packets": some(func(p stream.Packet) []stream.Packet {
			old := last
			last = p
			if old.Wire == nil {
				return []stream.Packet{p}
			}
			h := p.Header // old bytes in a new place
			return []stream.Packet{{Header: h, Wire: append(h.Append(nil), old.Wire[stream.HeaderSize:]...), At: p.At}}
		}),
		// Once, more than a small history holds, and more ranges than a message names.
		makesUp: some(func(p stream.Packet) []stream.Packet {
			ps := []stream.Packet{p}
			for n := p.Number + 100; !madeUp && n < p.Number+1600; n += 2 {
				q := p
				q.Number = n
				q.Wire = seal.Seal(q.Header, make([]byte, 200))
				ps = append(ps, q)
			}
			madeUp = true
			return ps
		}),
		"changes manifests":   manifests(changed),
		"truncates manifests": manifests(func(p stream.Packet) []stream.Packet { p.Wire = p.Wire[:40]; return []stream.Packet{p} }),
		"drops manifests":     manifests(func(stream.Packet) []stream.Packet { return nil }),
		"replays manifests": manifests(func(p stream.Packet) []stream.Packet {
			old := held
			held = p
			if old.Wire == nil {
				return []stream.Packet{p}
			}
			return []stream.Packet{{Header: p.Header, Wire: append(p.Header.Append(nil), old.Wire[stream.HeaderSize:]...), At: p.At}}
		}),
	}
}

// TestForgingRelay hangs an honest relay below one that forges, and a child below the
// honest one: the honest relay must leave the forger quickly, its own child must stay, and
// nothing forged may be played anywhere.
func TestForgingRelay(t *testing.T) {
	seal, err := stream.NewSealer([16]byte{7}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name := range forgeries(seal, nil) {
		limit, small := 300*time.Millisecond, 0
		switch name {
		case "drops manifests":
			limit = 1300 * time.Millisecond // silence is no proof
		case makesUp:
			limit, small = 1500*time.Millisecond, 96<<10
		}
		t.Run(name, func(t *testing.T) {
			vnet.Run(t, vnet.Config{Seed: 2, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
				src, key := newSigner(t)
				defer src.pub.Close()
				stop := src.talk(t)
				defer stop()
				nodes := map[string]*node{}
				for i, who := range []string{"speaker", "forger", "relay", "child"} {
					nodes[who] = virtual(t, n, fmt.Sprintf("1.2.3.%d", i+1), vnet.HostConfig{})
				}
				in, out := src.far(), src.far()
				feed(t, nodes["forger"], nodes["speaker"], src.h, in)
				f := newForger(t, nodes["forger"], in, out, forgeries(src.seal, nil)[name])
				// It checks nothing, so it does not know which manifest its oldest group needs.
				time.Sleep(3 * time.Second)

				relay, child := src.checking(key), src.checking(key)
				if small > 0 {
					relay = stream.NewHistory(src.h.ID(), stream.HistoryConfig{Key: key, Bytes: small})
				}
				bad := feed(t, nodes["relay"], nodes["forger"], out, relay)
				nodes["relay"].wait(bad, Flowing)
				good := feed(t, nodes["child"], nodes["relay"], relay, child)
				nodes["child"].wait(good, Flowing)
				second, spare := pair(t, nodes["relay"], nodes["speaker"])
				second.Serve(src.h)
				played := map[string]chan error{"relay": play(t, relay, src), "child": play(t, child, src)}
				time.Sleep(2 * time.Second)
				if ev, ok := nodes["relay"].find(bad, Forged); ok {
					t.Fatalf("an honest parent is blamed: %v", ev.Err)
				}

				close(f.began)
				first := <-f.first
				ev := nodes["relay"].wait(bad, Forged)
				left := time.Since(first)
				t.Logf("left after %v: %v", left, ev.Err)
				// The manifest that shows it comes up to 100 ms after what was forged.
				if left > limit+120*time.Millisecond {
					t.Errorf("the forger was left %v after its first forgery", left)
				}
				bad.Close()
				spare.Take(relay)
				time.Sleep(3 * time.Second)
				if ev, ok := nodes["child"].find(good, Forged); ok {
					t.Errorf("the honest relay is blamed: %v", ev.Err)
				}
				stop()
				if err := src.pub.Close(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
				for who, h := range map[string]*stream.History{"relay": relay, "child": child} {
					h.End()
					err := <-played[who]
					if small > 0 {
						continue // what was pushed out of it is lost: here it is who is blamed that counts
					}
					complete(t, src.h, h, src.n.Load())
					if err != nil {
						t.Errorf("%s: %v", who, err)
					}
				}
				t.Logf("relay %+v", video(relay))
				t.Logf("child %+v", video(child))
			})
		})
	}
}

// TestRetractingForger hangs a child below one that forges and says each time that it was
// not itself: that is believed twice.
func TestRetractingForger(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 2, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		src, key := newSigner(t)
		defer src.pub.Close()
		stop := src.talk(t)
		defer stop()
		speaker, relay, child := virtual(t, n, "1.2.3.1", vnet.HostConfig{}), virtual(t, n, "1.2.3.2", vnet.HostConfig{}), virtual(t, n, "1.2.3.3", vnet.HostConfig{})
		in, out, far := src.far(), src.checking(key), src.checking(key)
		feed(t, relay, speaker, src.h, in)
		f := newForger(t, relay, in, out, forgeries(src.seal, nil)["changes packets"])
		bad := feed(t, child, relay, out, far)
		child.wait(bad, Flowing)
		time.Sleep(time.Second)
		close(f.began)
		first := <-f.first
		time.Sleep(1500 * time.Millisecond)
		if ev, ok := child.find(bad, Forged); ok {
			t.Errorf("left after %v: %v", time.Since(first), ev.Err)
		}
		ev := child.wait(bad, Forged)
		if left := time.Since(first); left > 4*time.Second || !errors.Is(ev.Err, errIncidents) {
			t.Errorf("left after %v: %v", left, ev.Err)
		}
	})
}

// TestMissingManifestsAreNobodysFault cuts the manifests off far above: a relay that says
// that it has none is not blamed before its own parent would be.
func TestMissingManifestsAreNobodysFault(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 2, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		src, key := newSigner(t)
		defer src.pub.Close()
		stop := src.talk(t)
		defer stop()
		speaker, relay, child := virtual(t, n, "1.2.3.1", vnet.HostConfig{}), virtual(t, n, "1.2.3.2", vnet.HostConfig{}), virtual(t, n, "1.2.3.3", vnet.HostConfig{})
		in, honest, far := src.far(), src.checking(key), src.checking(key)
		feed(t, relay, speaker, src.h, in)
		f := newForger(t, relay, in, honest, forgeries(src.seal, nil)["drops manifests"])
		good := feed(t, child, relay, honest, far)
		child.wait(good, Flowing)
		time.Sleep(time.Second)
		close(f.began)
		time.Sleep(3 * time.Second)
		if ev, ok := child.find(good, Forged); ok {
			t.Errorf("the honest relay is blamed: %v", ev.Err)
		}
		if _, ok := child.find(good, Starved); !ok {
			t.Error("the child does not know that its parent starves")
		}
	})
}

// play plays h to its end; an error says what should not have been played, or was not.
func play(t *testing.T, h *stream.History, src *speaker) chan error {
	p := stream.NewPlayer(h, src.seal, stream.PlayerConfig{HoleWait: 2 * time.Second})
	result := make(chan error, 1)
	ctx := t.Context()
	go func() {
		defer close(result)
		defer p.Close()
		next := uint64(0)
		for {
			ss, err := p.Next(ctx)
			if err != nil {
				if got := src.n.Load(); next != got {
					result <- fmt.Errorf("played up to %d of %d", next, got)
				}
				return
			}
			for _, s := range ss {
				if len(s.Payload) != 1000 {
					result <- errors.New("a forged packet was played")
					return
				}
				if next > 0 && s.Number != next {
					result <- fmt.Errorf("%d follows on %d", s.Number, next-1)
					return
				}
				next = s.Number + 1
			}
		}
	}()
	return result
}
