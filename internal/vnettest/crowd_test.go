package vnettest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
)

// crowd is a room with its nodes, each on a host of its own.
type crowd struct {
	t    *testing.T
	net  *vnet.Network
	cfg  crowdConfig
	room *dht.Room

	volunteer, speaker *member
	listeners          []*member
	others             []*member // who are neither

	mu    sync.Mutex
	errs  []error
	tasks sync.WaitGroup
}

type member struct {
	*node.Node
	host   *vnet.Host
	ip     netip.Addr
	name   string
	nat    bool
	probe  *probe
	causes *meter
	gone   atomic.Bool // crashed, or has left
}

type crowdConfig struct {
	stun    string // host:port; empty: none
	speaker vnet.HostConfig
	feed    func(context.Context, ingest.Target) error // nil: the test clip
	history int                                        // bytes a node; 0: node's default
	slots   int                                        // of a listener; 0: node's default
	log     slog.Level
	blames  *blames                        // nil: nobody asks who is blamed
	tap     func(i int, h *stream.History) // given each history of node i; nil: none
	lock    *dht.Lock                      // nil: an open room
	anyone  bool                           // may speak
	keys    func(i int) dht.Keys           // of node i, for a closed room
}

// newCrowd starts a volunteer and a speaker.
func newCrowd(t *testing.T, net *vnet.Network, cfg crowdConfig) *crowd {
	c := &crowd{t: t, net: net, cfg: cfg}
	t.Cleanup(c.close)
	c.volunteer = c.start(0, vnet.HostConfig{}, node.Config{Volunteer: true})
	c.speaker = c.start(1, cfg.speaker, node.Config{})
	room, err := dht.CreateRoom(key(t, "room"), dht.RoomOptions{
		Name: "crowd", Speakers: []peer.ID{c.speaker.ID()}, Now: time.Now(), Lock: cfg.lock,
		AnyoneSpeaks: cfg.anyone,
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.keys != nil {
		room = room.WithKeys(cfg.keys(1))
	}
	c.room = room
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.speaker.Host().Bootstrapped(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.speaker.Host().PutRoom(ctx, room); err != nil {
		t.Fatal(err)
	}
	speaker := c.speaker
	c.task(func() error {
		err := speaker.Speak(t.Context(), node.SpeakConfig{Room: room, Input: "test", Feed: cfg.feed})
		if speaker.gone.Load() {
			return nil
		}
		return err
	})
	return c
}

// key is an identity that follows from its name.
func key(t *testing.T, name string) crypto.PrivKey {
	k, _, err := crypto.GenerateEd25519Key(rand.NewChaCha8(sha256.Sum256([]byte(name))))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start starts node i on a host of its own.
func (c *crowd) start(i int, hc vnet.HostConfig, nc node.Config) *member {
	c.t.Helper()
	ip := netip.AddrFrom4([4]byte{1, 2, byte(i >> 8), byte(i)})
	if hc.Gateway.IsValid() {
		ip = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	}
	return c.startAt(ip, i, hc, nc)
}

func (c *crowd) startAt(ip netip.Addr, i int, hc vnet.HostConfig, nc node.Config) *member {
	c.t.Helper()
	m := &member{ip: ip, name: fmt.Sprint("node", i), nat: hc.NAT != vnet.Open, probe: newProbe(), causes: newMeter()}
	m.host = c.net.Host(m.ip, hc)
	nc.Key = key(c.t, m.name)
	nc.Version = "vnettest"
	if c.cfg.stun != "" {
		nc.STUN = []string{c.cfg.stun}
	}
	nc.Net, nc.Libp2p = m.host.Transport(), m.host.Libp2pOptions()
	nc.Gossip, nc.Kad = m.causes.gossip(), m.causes.kad()
	nc.HistoryBytes = c.cfg.history
	nc.Tap = func(h *stream.History) {
		if c.cfg.tap != nil {
			c.cfg.tap(i, h)
		}
		c.tasks.Go(func() { m.probe.watch(c.t.Context(), h.CursorAt(nil)) })
	}
	var h slog.Handler = slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: c.cfg.log})
	if c.cfg.blames != nil {
		h = c.cfg.blames.listen(h)
	}
	nc.Log = slog.New(h).With("node", i)
	if c.volunteer != nil {
		nc.Bootstrap = []peer.AddrInfo{{ID: c.volunteer.ID(), Addrs: c.volunteer.Host().Addrs()}}
	}
	n, err := node.New(context.Background(), nc)
	if err != nil {
		c.t.Fatal(err)
	}
	m.Node = n
	return m
}

// join adds a listener, who knows only the room's ID and the volunteer's address.
func (c *crowd) join(i int, hc vnet.HostConfig) {
	m := c.start(i, hc, node.Config{Slots: c.cfg.slots})
	c.listeners = append(c.listeners, m)
	var keys dht.Keys
	if c.cfg.keys != nil {
		keys = c.cfg.keys(i)
	}
	c.task(func() (err error) {
		defer func() {
			if m.gone.Load() {
				err = nil
			}
		}()
		ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
		defer cancel()
		if err := m.Host().Bootstrapped(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		room, err := m.Host().FetchRoomWith(ctx, c.room.ID, keys)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		return m.Join(c.t.Context(), node.JoinConfig{Room: room})
	})
}

// fill lets n listeners join, the first being node 2, one each 100 ms and each on its line
// (nil: open to all), and gives them a while once all are live.
func (c *crowd) fill(n int, line func(i int) vnet.HostConfig, calm time.Duration) {
	c.t.Helper()
	for i := 2; i < 2+n; i++ {
		var hc vnet.HostConfig
		if line != nil {
			hc = line(i)
		}
		c.join(i, hc)
		time.Sleep(100 * time.Millisecond)
	}
	c.eventually(20*time.Second, c.listeners, flowing(nil))
	time.Sleep(calm)
}

// task runs f beside the test; its error fails the test in the end.
func (c *crowd) task(f func() error) {
	c.tasks.Go(func() {
		if err := f(); err != nil && c.t.Context().Err() == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.errs = append(c.errs, err)
		}
	})
}

// close ends every node, all at once, as a closing laptop lid would not: politely.
func (c *crowd) close() {
	var wg sync.WaitGroup
	for _, m := range append(append(c.listeners, c.others...), c.speaker, c.volunteer) {
		if m == nil {
			continue
		}
		wg.Go(func() {
			if err := m.Close(); err != nil {
				c.t.Errorf("%s: close: %v", m.name, err)
			}
		})
	}
	wg.Wait()
	c.tasks.Wait()
	for _, err := range c.errs {
		c.t.Error(err)
	}
}

// crash takes m off the network without a word.
func (c *crowd) crash(m *member) {
	c.net.SetDown(m.ip, true)
	c.leave(m)
}

// leave ends m politely; it is no listener from now on.
func (c *crowd) leave(m *member) {
	m.gone.Store(true)
	c.listeners = c.without(m)
	c.tasks.Go(func() { m.Close() })
}

// stream is m's view of the room's stream, if it has one.
func (m *member) stream() (node.StreamStatus, bool) {
	for _, r := range m.Status().Rooms {
		for _, s := range r.Streams {
			return s, true
		}
	}
	return node.StreamStatus{}, false
}

// packets is how many packets of the stream's media have come.
func packets(s node.StreamStatus) (n uint64) {
	for _, t := range s.Tracks {
		n += t.Received
	}
	return n
}

// lost is how many packets did not come and won't.
func lost(s node.StreamStatus) (n uint64) {
	for _, t := range s.Tracks {
		n += t.Lost
	}
	return n
}

// eventually waits until ok has said nothing for every member, asking every 50 ms, and
// returns how long that took; after limit the test fails with what is still wrong.
func (c *crowd) eventually(limit time.Duration, members []*member, ok func(*member) string) time.Duration {
	c.t.Helper()
	start := time.Now()
	for {
		var waiting []*member
		wrong := ""
		for _, m := range members {
			if w := ok(m); w != "" {
				waiting = append(waiting, m)
				wrong += fmt.Sprintf("\n%s (%v): %s", m.name, m.ID(), w)
			}
		}
		if members = waiting; len(members) == 0 {
			return time.Since(start)
		}
		if time.Since(start) >= limit {
			c.t.Fatalf("after %v:%s", limit, wrong)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// flowing says what keeps m from being live: it has a parent, and packets have come
// since before was counted.
func flowing(before map[*member]uint64) func(*member) string {
	return func(m *member) string {
		s, ok := m.stream()
		switch {
		case !ok:
			return "knows of no stream"
		case s.Parent == nil:
			return "has no parent"
		case s.State != "live":
			return "is " + s.State
		case packets(s) <= before[m]:
			return "gets no packets"
		}
		return ""
	}
}

// counts notes how many packets everybody has.
func (c *crowd) counts() map[*member]uint64 {
	all := make(map[*member]uint64)
	for _, m := range c.listeners {
		s, _ := m.stream()
		all[m] = packets(s)
	}
	return all
}

// checkTree fails the test if paths loop, depth is too much or packets are lost.
func (c *crowd) checkTree(maxLayer int) (layers map[int]int) {
	c.t.Helper()
	layers = make(map[int]int)
	for _, m := range c.listeners {
		s, ok := m.stream()
		if !ok || s.Layer == nil {
			c.t.Errorf("%s has no place in the tree", m.name)
			continue
		}
		layers[*s.Layer]++
		if *s.Layer > maxLayer {
			c.t.Errorf("%s is in layer %d, want at most %d", m.name, *s.Layer, maxLayer)
		}
		path := slices.Clone(s.Path)
		if slices.Sort(path); len(slices.Compact(path)) != len(s.Path) || slices.Contains(path, m.ID().String()) {
			c.t.Errorf("%s's path loops: %v", m.name, s.Path)
		}
		if n := lost(s); n != 0 {
			c.t.Errorf("%s lost %d packets: %+v", m.name, n, s.Tracks)
		}
		if s.Slots.Used > s.Slots.Max {
			c.t.Errorf("%s has %d children in %d slots", m.name, s.Slots.Used, s.Slots.Max)
		}
	}
	return layers
}

// missing is, by track, how many numbers below the newest m does not hold: those from
// before it came, and holes.
func missing(m *member) map[string]uint64 {
	gone := make(map[string]uint64)
	s, _ := m.stream()
	for _, t := range s.Tracks {
		gone[t.ID] = t.Next - t.Received
	}
	return gone
}

// whole says what of the stream has passed m by since before was noted.
func whole(before map[*member]map[string]uint64) func(*member) string {
	return func(m *member) string {
		for track, n := range missing(m) {
			if was := before[m][track]; n > was {
				s, _ := m.stream()
				return fmt.Sprintf("lacks %d packets of %s: %d lost for good, %d switches, below %v", n-was, track, lost(s), s.Switches, s.Path)
			}
		}
		return ""
	}
}

// busiest is the listener of a layer with the most nodes below it.
func (c *crowd) busiest(layer int) *member {
	c.t.Helper()
	var best *member
	for _, m := range c.listeners {
		s, ok := m.stream()
		if ok && s.Layer != nil && *s.Layer == layer && (best == nil || len(c.below(m)) > len(c.below(best))) {
			best = m
		}
	}
	if best == nil {
		c.t.Fatalf("nobody stands in layer %d", layer)
	}
	return best
}

// those are the listeners that are so.
func (c *crowd) those(so func(*member) bool) (some []*member) {
	for _, l := range c.listeners {
		if so(l) {
			some = append(some, l)
		}
	}
	return some
}

// without are the listeners but m.
func (c *crowd) without(m *member) []*member {
	return c.those(func(l *member) bool { return l != m })
}

// below are the listeners that have m among their ancestors.
func (c *crowd) below(m *member) []*member {
	return c.those(func(l *member) bool {
		s, ok := l.stream()
		return ok && slices.Contains(s.Path, m.ID().String())
	})
}
