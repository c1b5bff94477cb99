package vnettest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/link"
	"github.com/watergy/waterfall/tree"
)

// hogger is a member that asks for slots, again and again, for no good.
type hogger struct {
	hogging
	presence *dht.Presence
	links    *link.Engine
	answered int // it was promised a slot
	open     map[uint64]*link.Link
	flooded  []*link.Link
}

// hogging is what it does with them.
type hogging struct {
	connects bool // it completes ICE, and says that it is there
	floods   bool // it takes the stream as well, and sends 2,000 control messages a second to each parent
}

const (
	floodEvery = 10 * time.Millisecond
	floodBy    = 20
)

// hog starts hogger i; it goes on until the test ends.
func (c *crowd) hog(i int, what hogging) {
	c.t.Helper()
	at := c.net.Host(netip.AddrFrom4([4]byte{1, 3, 0, byte(i)}), vnet.HostConfig{})
	host, err := dht.New(context.Background(), dht.Config{
		Key: key(c.t, fmt.Sprint("hogger", i)), Libp2p: at.Libp2pOptions(),
		Bootstrap: []peer.AddrInfo{{ID: c.volunteer.ID(), Addrs: c.volunteer.Host().Addrs()}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	links, err := link.NewEngine(link.Config{Net: at.Transport()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.task(func() error {
		err := (&hogger{hogging: what, links: links, open: map[uint64]*link.Link{}}).run(c, host)
		return errors.Join(err, links.Close(), host.Close())
	})
}

// hogEvery is how often a hogger offers to each entry of the head.
const hogEvery = 700 * time.Millisecond

func (h *hogger) run(c *crowd, host *dht.Host) error {
	ctx := c.t.Context()
	if err := host.Bootstrapped(ctx); err != nil {
		return err
	}
	var err error
	if h.presence, err = host.Enter(c.room, dht.Member{}); err != nil {
		return err
	}
	defer h.presence.Leave()
	h.presence.Watch(true, nil)
	var head dht.Head
	tick := time.NewTicker(hogEvery)
	defer tick.Stop()
	var flood <-chan time.Time
	if h.floods {
		every := time.NewTicker(floodEvery)
		defer every.Stop()
		flood = every.C
	}
	id := uint64(time.Now().UnixMicro())
	for {
		select {
		case head = <-h.presence.Heads():
		case a := <-h.presence.Answers():
			h.answer(head, a)
		case ev := <-h.links.Events():
			if ev.Kind != link.Up {
				continue
			}
			if err := ev.Link.Send(childSays(head)); err != nil {
				return err
			}
			if h.floods {
				ev.Link.Take(stream.NewHistory(head.Stream, stream.HistoryConfig{}))
				h.flooded = append(h.flooded, ev.Link)
			}
		case <-flood:
			for _, l := range h.flooded {
				for range floodBy {
					_ = l.Send(childSays(head)) // fails when the link is gone
				}
			}
		case <-tick.C:
			for _, e := range head.Entries {
				id++
				h.offer(ctx, head, e, id)
			}
		case <-ctx.Done():
			if h.answered == 0 {
				return errors.New("the hogger was never promised a slot")
			}
			return nil
		}
	}
}

// childSays is what a child says that has just come.
func childSays(head dht.Head) []byte {
	return tree.Marshal(tree.StreamID(head.Stream), tree.Sum{Layers: []uint32{1}})
}

// offer makes an offer as the strongest that there could be.
func (h *hogger) offer(ctx context.Context, head dht.Head, e dht.HeadEntry, id uint64) {
	if len(h.open) > 32 {
		for old, l := range h.open {
			delete(h.open, old)
			h.presence.DropOffer(head.Stream, old)
			l.Close()
		}
	}
	l, d, err := h.links.Offer(ctx)
	if err != nil {
		return
	}
	body := d.Append([]byte{1, 0}) // below: 1, avoid: nobody
	body = append(body, byte(tree.ToJoin), 255, 0, 0, 0, 255)
	if h.presence.SendOffer(head.Stream, e.Peer, e.Box, id, body) != nil {
		l.Close()
		return
	}
	h.open[id] = l
}

// answer takes a promise (docs/protocol-link.md): verdict, 0, the path, a description.
func (h *hogger) answer(head dht.Head, a dht.Answer) {
	l := h.open[a.ID]
	if l == nil {
		return
	}
	if len(a.Body) < 3 || tree.Verdict(a.Body[0]) != tree.Accepted || a.Body[1] != 0 {
		return
	}
	h.answered++
	if !h.connects {
		return
	}
	delete(h.open, a.ID)
	b := a.Body[3:]
	for range a.Body[2] {
		b = b[1+int(b[0]):]
	}
	d, _, err := link.ParseDescription(b)
	if err == nil {
		err = l.Accept(string(a.From), d)
	}
	if err != nil {
		l.Close()
	}
}

// Members ask for every slot that there is, all the time, and never connect; connect and
// never take the stream; or take it and flood their parents with control messages. Newcomers get
// in as fast as without them, or nearly so; who is there misses nothing; nobody keeps more
// links than its slots allow.
func TestSlotHogger(t *testing.T) {
	for name, what := range map[string]hogging{
		neverConnects: {}, "takes nothing": {connects: true}, "floods": {connects: true, floods: true},
	} {
		t.Run(name, func(t *testing.T) {
			if !*long && name != neverConnects {
				t.Skip("go test ./internal/vnettest -run SlotHogger -long")
			}
			slotHogger(t, what)
		})
	}
}

const neverConnects = "never connects"

func slotHogger(t *testing.T, what hogging) {
	vnet.Run(t, vnet.Config{Seed: 4, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		c := newCrowd(t, n, crowdConfig{feed: feed, history: 1 << 20, slots: 2, log: slog.LevelError})
		next := 2
		joins := func(count int) (took []time.Duration) {
			for range count {
				c.join(next, vnet.HostConfig{})
				next++
				time.Sleep(300 * time.Millisecond)
			}
			came := c.listeners[len(c.listeners)-count:]
			c.eventually(20*time.Second, came, flowing(nil))
			for _, m := range came {
				took = append(took, m.probe.read().join)
			}
			slices.Sort(took)
			return took
		}
		joins(4)
		calm := joins(3)
		for i := range 4 {
			c.hog(1+i, what)
		}
		time.Sleep(12 * time.Second)
		before := make(map[*member]map[string]uint64)
		honest := slices.Clone(c.listeners)
		for _, m := range honest {
			before[m] = missing(m)
		}
		hogged := joins(5)
		t.Logf("joins in calm: %v; among hoggers: %v", calm, hogged)
		// Most meet nodes that know of the hoggers (the middle one takes 0.7–0.95 s, once 1.25); the
		// others wait at most until a promise has lapsed.
		// Who floods is cut off by all by now: 0.60–0.70 s, the slowest 1.25 s.
		times, slowest := time.Duration(4), 8*time.Second
		if what.floods {
			times, slowest = 2, 4*time.Second
		}
		if hogged[len(hogged)/2] > times*calm[len(calm)-1] || hogged[len(hogged)-1] > slowest {
			t.Errorf("joins among hoggers took %v, without them %v", hogged, calm)
		}
		for _, m := range append(slices.Clone(c.listeners), c.speaker) {
			s, _ := m.stream()
			// Children and standbys, two a slot each; parent, backup, the search for others; libp2p.
			if most := 4*s.Slots.Max + 8; m.host.Sockets() > most {
				t.Errorf("%s has %d sockets open, want at most %d", m.name, m.host.Sockets(), most)
			}
		}
		c.eventually(time.Second, honest, whole(before))
	})
}
