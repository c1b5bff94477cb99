package vnettest

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
)

// bad is the node that does wrong: the first listener to come, which stands in layer 1.
const bad = 2

// misdeed is what it does to packets from some moment on.
type misdeed struct {
	mu    sync.Mutex
	on    bool
	first time.Time                                        // of what it has done
	do    func(stream.Packet) (p stream.Packet, keep bool) // keep false: it keeps the packet back
}

// tap makes node bad do it.
func (m *misdeed) tap(i int, h *stream.History) {
	if i != bad {
		return
	}
	h.Forge(func(p stream.Packet) (stream.Packet, bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.on {
			return p, true
		}
		q, keep := m.do(p)
		if m.first.IsZero() && (!keep || !slices.Equal(q.Wire, p.Wire)) {
			m.first = time.Now()
		}
		return q, keep
	})
}

func (m *misdeed) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = true
}

// began is when it did it first.
func (m *misdeed) began() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.first
}

// changed is p with its last bit flipped.
func changed(p stream.Packet) stream.Packet {
	p.Wire = slices.Clone(p.Wire)
	p.Wire[len(p.Wire)-1] ^= 1
	return p
}

// apart says whether m hangs below another.
func apart(from *member) func(*member) string {
	return func(m *member) string {
		if s, ok := m.stream(); !ok || s.Parent == nil || slices.Contains(s.Path, from.ID().String()) {
			return "is still below " + from.name
		}
		return ""
	}
}

// takesFrom says whether m has another as its parent.
func takesFrom(from, m *member) bool {
	s, ok := m.stream()
	return ok && s.Parent != nil && *s.Parent == from.ID().String()
}

// A relay right below the speaker begins to change packets. Each node that takes from it
// leaves it within 300 ms of the first manifest that shows it, and does not take it again;
// nobody blames anybody else, and nobody misses anything. Others, who know nothing of it,
// may try it once.
func TestForgingNode(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 3, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		forging := &misdeed{do: func(p stream.Packet) (stream.Packet, bool) {
			if p.Track != stream.ManifestTrack && p.Number%10 == 0 {
				p = changed(p)
			}
			return p, true
		}}
		var said blames
		c := newCrowd(t, n, crowdConfig{slots: 2, log: slog.LevelWarn, blames: &said, tap: forging.tap})
		c.fill(20, nil, 5*time.Second)
		forger := c.listeners[0]
		fedBy := func(m *member) bool { return takesFrom(forger, m) }
		// Slots two below it are among the last to be taken: more come until one is.
		for i := 22; i < 30 && len(c.below(forger)) == len(c.those(fedBy)); i++ {
			c.join(i, vnet.HostConfig{})
			c.eventually(10*time.Second, c.listeners, flowing(nil))
			time.Sleep(5 * time.Second)
		}
		below, fed, honest := c.below(forger), c.those(fedBy), c.without(forger)
		before := make(map[*member]map[string]uint64)
		for _, m := range honest {
			before[m] = missing(m)
		}
		if len(fed) == 0 || len(below) == len(fed) {
			t.Fatalf("%d hang on the forger, %d below it", len(fed), len(below))
		}

		forging.begin()
		t.Logf("%d nodes off the forger after %v", len(below), c.eventually(3500*time.Millisecond, below, apart(forger)))
		left := said.of(forger)
		for _, m := range fed {
			// A manifest comes up to 100 ms after what it covers, over one hop.
			const first = 100*time.Millisecond + 25*time.Millisecond
			if at, ok := left[m.name]; !ok || at.Sub(forging.began()) > first+300*time.Millisecond {
				t.Errorf("%s left the forger after %v (%v)", m.name, at.Sub(forging.began()), ok)
			}
		}
		for range 150 { // and none that has blamed it takes it again
			time.Sleep(100 * time.Millisecond)
			for _, m := range honest {
				if at, ok := said.of(forger)[m.name]; ok && time.Since(at) > 50*time.Millisecond && takesFrom(forger, m) {
					t.Fatalf("%s takes from the forger again", m.name)
				}
			}
		}
		c.eventually(time.Second, honest, flowing(c.counts()))
		c.eventually(time.Second, honest, whole(before))
		forged := map[string]bool{}
		for _, m := range honest {
			s, _ := m.stream()
			for _, k := range s.Tracks {
				forged[m.name] = forged[m.name] || k.Forged > 0
				if k.Lost > 0 {
					t.Errorf("%s lost %d packets of %s", m.name, k.Lost, k.ID)
				}
			}
		}
		for _, m := range fed {
			if !forged[m.name] {
				t.Errorf("%s's status does not speak of forgery", m.name)
			}
		}
		said.only(t, forger)
	})
}

// A relay right below the speaker keeps packets back, some or all, and says that all is
// well. Who takes from it gets them from its backup, leaves it, and does not take it
// again; the honest relays below it are not blamed for what they did not get. Who hung below
// it misses nothing. Others may try it later, and miss what it keeps back while they look for
// a backup: for them only that they leave it.
func TestDroppingNode(t *testing.T) {
	for name, drop := range map[string]func(stream.Packet) bool{
		"one in ten":       func(p stream.Packet) bool { return p.Number%10 == 0 },
		"everything":       func(stream.Packet) bool { return true },
		"most manifests":   func(p stream.Packet) bool { return p.Track == stream.ManifestTrack && p.Number%8 != 0 },
		"every manifest":   func(p stream.Packet) bool { return p.Track == stream.ManifestTrack },
		"sound altogether": func(p stream.Packet) bool { return p.Track == ingest.AudioTrack },
	} {
		t.Run(name, func(t *testing.T) {
			if !*long && name != "one in ten" && name != "everything" {
				t.Skip("go test ./internal/vnettest -run DroppingNode -long")
			}
			vnet.Run(t, vnet.Config{Seed: 3, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
				dropping := &misdeed{do: func(p stream.Packet) (stream.Packet, bool) { return p, !drop(p) }}
				var said blames
				c := newCrowd(t, n, crowdConfig{slots: 2, log: slog.LevelWarn, blames: &said, tap: dropping.tap})
				c.fill(14, nil, 5*time.Second)
				dropper := c.listeners[0]
				below, honest := c.below(dropper), c.without(dropper)
				if len(below) == 0 {
					t.Fatal("nobody hangs below the dropper")
				}
				before := make(map[*member]map[string]uint64)
				for _, m := range honest {
					before[m] = missing(m)
					m.probe.mark()
				}

				dropping.begin()
				t.Logf("%d nodes off the dropper after %v", len(below), c.eventually(8*time.Second, below, apart(dropper)))
				later := map[*member]bool{}
				tried := func(m *member) bool {
					later[m] = later[m] || takesFrom(dropper, m) || apart(dropper)(m) != ""
					return later[m]
				}
				for range 100 {
					time.Sleep(100 * time.Millisecond)
					for _, m := range honest {
						tried(m)
						if at, ok := said.of(dropper)[m.name]; ok && time.Since(at) > 50*time.Millisecond && takesFrom(dropper, m) {
							t.Fatalf("%s takes from the dropper again", m.name)
						}
					}
				}
				c.eventually(time.Second, honest, flowing(c.counts()))
				c.eventually(time.Second, honest, func(m *member) string {
					if tried(m) { // while we ask, too
						return ""
					}
					return whole(before)(m)
				})
				spared := slices.DeleteFunc(slices.Clone(honest), tried)
				var longest time.Duration
				for _, m := range spared {
					longest = max(longest, m.probe.read().gap)
					if s, _ := m.stream(); lost(s) > 0 {
						t.Errorf("%s lost %d packets", m.name, lost(s))
					}
				}
				t.Logf("the longest that anybody got no packet of the picture: %v", longest)
				said.only(t, dropper)
			})
		})
	}
}

// blames collects whom the nodes' logs name as relays that do wrong, and when.
type blames struct {
	mu  sync.Mutex
	who map[string]map[string]time.Time // by the one that is blamed: by whom, and when first
}

func (b *blames) listen(h slog.Handler) slog.Handler { return blameHandler{Handler: h, b: b} }

// of says who has blamed a node.
func (b *blames) of(m *member) map[string]time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.who[m.ID().String()])
}

// only fails the test if anybody else is blamed.
func (b *blames) only(t *testing.T, m *member) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for who, by := range b.who {
		if who != m.ID().String() {
			t.Errorf("the honest %s is blamed by %v", who, slices.Collect(maps.Keys(by)))
		}
	}
	if b.who[m.ID().String()] == nil {
		t.Errorf("nobody has blamed %s", m.name)
	}
}

type blameHandler struct {
	slog.Handler
	b    *blames
	node string
}

func (h blameHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "a relay is left for good" || r.Message == "a relay is left for a while" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key != "peer" {
				return true
			}
			h.b.mu.Lock()
			defer h.b.mu.Unlock()
			who := a.Value.String()
			if h.b.who == nil {
				h.b.who = map[string]map[string]time.Time{}
			}
			if h.b.who[who] == nil {
				h.b.who[who] = map[string]time.Time{}
			}
			if _, again := h.b.who[who][h.node]; !again {
				h.b.who[who][h.node] = r.Time
			}
			return false
		})
	}
	return h.Handler.Handle(ctx, r)
}

func (h blameHandler) WithAttrs(as []slog.Attr) slog.Handler {
	for _, a := range as {
		if a.Key == "node" {
			h.node = "node" + a.Value.String()
		}
	}
	h.Handler = h.Handler.WithAttrs(as)
	return h
}

func (h blameHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

// A relay below the speaker forges before others come. Newcomers whom it is the first
// parent of leave it for another, and play little later than those beside them.
func TestForgingFirstParent(t *testing.T) {
	if !*long {
		t.Skip("go test ./internal/vnettest -run ForgingFirstParent -long")
	}
	media := func(every uint64) func(stream.Packet) (stream.Packet, bool) {
		return func(p stream.Packet) (stream.Packet, bool) {
			if p.Track != stream.ManifestTrack && p.Number%every == 0 {
				p = changed(p)
			}
			return p, true
		}
	}
	for name, do := range map[string]func(stream.Packet) (stream.Packet, bool){
		"one in ten": media(10), "half": media(2), "all": media(1),
		"manifests": func(p stream.Packet) (stream.Packet, bool) {
			if p.Track == stream.ManifestTrack {
				p = changed(p)
			}
			return p, true
		},
		"no manifests": func(p stream.Packet) (stream.Packet, bool) { return p, p.Track != stream.ManifestTrack },
	} {
		t.Run(name, func(t *testing.T) {
			vnet.Run(t, vnet.Config{Seed: 5, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
				forging := &misdeed{do: do}
				var said blames
				var c *crowd
				const most = 16
				var played [most]atomic.Int64 // by node: when, since the beginning
				began := time.Now()
				c = newCrowd(t, n, crowdConfig{feed: feed, slots: 3, log: slog.LevelWarn, blames: &said, tap: func(i int, h *stream.History) {
					forging.tap(i, h)
					c.tasks.Go(func() {
						if _, err := h.Proven().Next(t.Context(), make([]stream.Packet, 1)); err == nil {
							played[i].CompareAndSwap(0, int64(time.Since(began)))
						}
					})
				}})
				c.fill(4, nil, 5*time.Second) // the speaker's
				forger := c.listeners[0]
				forging.begin()
				var beside, below []time.Duration
				for i := 6; i < most; i++ {
					start := time.Since(began)
					c.join(i, vnet.HostConfig{})
					m := c.listeners[len(c.listeners)-1]
					under := false
					c.eventually(20*time.Second, []*member{m}, func(m *member) string {
						under = under || takesFrom(forger, m)
						if played[i].Load() == 0 {
							return "plays nothing"
						}
						return ""
					})
					took := time.Duration(played[i].Load()) - start
					if _, blamed := said.of(forger)[m.name]; under || blamed {
						below = append(below, took)
					} else {
						beside = append(beside, took)
					}
				}
				slices.Sort(beside)
				slices.Sort(below)
				t.Logf("beside the forger %v, first below it %v", beside, below)
				if len(below) == 0 || len(beside) == 0 {
					t.Fatal("nobody came below the forger, or everybody")
				}
				if slowest := below[len(below)-1]; slowest > 4*time.Second {
					t.Errorf("one whose first parent forges plays after %v", slowest)
				}
				said.only(t, forger)
			})
		})
	}
}
