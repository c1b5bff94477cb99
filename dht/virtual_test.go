package dht

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/internal/vnet"
)

// virtualHost is a host at 25 ms one way from all others, in virtual time.
func virtualHost(t testing.TB, n *vnet.Network, i int, cfg Config) *Host {
	t.Helper()
	return virtualHostAt(t, n.Host(netip.AddrFrom4([4]byte{1, 1, byte(i >> 8), byte(i)}), vnet.HostConfig{}), cfg)
}

func virtualHostAt(t testing.TB, at *vnet.Host, cfg Config) *Host {
	t.Helper()
	if cfg.Key == nil {
		cfg.Key = newKey(t)
	}
	cfg.Libp2p = append(at.Libp2pOptions(), cfg.Libp2p...)
	h, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

var hubMembers = flag.Int("hubs", 30, "members in TestHubs")

var wan = vnet.Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}

func booted(t testing.TB, hosts ...*Host) {
	t.Helper()
	for _, h := range hosts {
		if err := h.Bootstrapped(deadline(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestJoinFar times a join at 50 ms round trip: the parts must not add up to more than
// a person waits.
func TestJoinFar(t *testing.T) {
	for signal, most := range map[Signal]time.Duration{Both: time.Second, Gossip: time.Second, DHT: 4 * time.Second} {
		t.Run(string(signal), func(t *testing.T) {
			vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
				boot := virtualHost(t, n, 1, Config{Volunteer: true})
				cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}, Signal: signal}
				sh := virtualHost(t, n, 2, cfg)
				booted(t, sh)
				room, err := CreateRoom(newKey(t), RoomOptions{Speakers: []peer.ID{sh.ID()}})
				if err != nil {
					t.Fatal(err)
				}
				if err := sh.PutRoom(t.Context(), room); err != nil {
					t.Fatal(err)
				}
				sp := enter(t, sh, room, "speaker")
				stream := [16]byte{1}
				speak(t, sp, stream)
				time.Sleep(15 * time.Second)
				go func() { // ends with the test: Offers is drained until then
					for {
						select {
						case o := <-sp.Offers():
							if err := sp.SendAnswer(o, []byte("yes")); err != nil {
								t.Error(err)
							}
						case <-t.Context().Done():
							return
						}
					}
				}()

				began := time.Now()
				jh := virtualHost(t, n, 3, cfg)
				booted(t, jh)
				boot1 := time.Since(began)
				jroom, err := jh.FetchRoom(t.Context(), room.ID)
				if err != nil {
					t.Fatal(err)
				}
				fetched := time.Since(began)
				jp := enter(t, jh, jroom, "listener")
				jp.Watch(true, nil)
				head := next(t, "head", jp.Heads(), 10*time.Second)
				headed := time.Since(began)
				if err := jp.SendOffer(stream, head.Speaker, head.Entries[0].Box, 1, []byte("offer")); err != nil {
					t.Fatal(err)
				}
				a := next(t, "answer", jp.Answers(), 20*time.Second)
				took := time.Since(began)
				t.Logf("bootstrapped %v, room %v, head %v, answer %v by %s", boot1, fetched, headed, took, a.Via)
				if took > most {
					t.Errorf("the answer took %v, more than %v", took, most)
				}

				// Attached, the node leaves the topics after a while, and comes back at once
				// when it has lost its parent.
				jp.Watch(false, nil)
				time.Sleep(topicLinger + 2*time.Second)
				jp.mu.Lock()
				for name, u := range jp.topics {
					if u.sub != nil && name != shard(jh.self) {
						t.Errorf("topic %s is still heard", name)
					}
				}
				jp.mu.Unlock()
				lost := time.Now()
				jp.Watch(true, nil)
				for len(jp.Heads()) > 0 {
					<-jp.Heads()
				}
				head = next(t, "head after the parent's loss", jp.Heads(), 10*time.Second)
				if err := jp.SendOffer(stream, head.Speaker, head.Entries[0].Box, 2, []byte("offer")); err != nil {
					t.Fatal(err)
				}
				next(t, "answer after the parent's loss", jp.Answers(), 20*time.Second)
				t.Logf("after a parent's loss: %v", time.Since(lost))
				if again := time.Since(lost); again > most {
					t.Errorf("the answer after a parent's loss took %v", again)
				}
			})
		})
	}
}

// TestVolunteerTopics: a volunteer relays what its peers subscribe to, eight topics a
// peer, and forgets it two minutes after the last subscriber; two volunteers don't keep
// a topic alive between them.
func TestVolunteerTopics(t *testing.T) {
	vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
		b1 := virtualHost(t, n, 1, Config{Volunteer: true})
		b2 := virtualHost(t, n, 2, Config{Volunteer: true, Bootstrap: []peer.AddrInfo{infoOf(t, b1)}})
		m := virtualHost(t, n, 3, Config{Bootstrap: []peer.AddrInfo{infoOf(t, b1)}})
		m2 := virtualHost(t, n, 4, Config{Bootstrap: []peer.AddrInfo{infoOf(t, b2)}})
		booted(t, b2, m, m2)
		relayed := func(h *Host) (n int) {
			h.topicsMu.Lock()
			defer h.topicsMu.Unlock()
			return len(h.topics)
		}
		greedy, err := CreateRoom(newKey(t), RoomOptions{AnyoneSpeaks: true})
		if err != nil {
			t.Fatal(err)
		}
		var stops []func()
		for i := range peerTopics + 4 {
			name := topicName(greedy.secret.place(fmt.Sprint(i)))
			sub := subscribed(t, m, name)
			stops = append(stops, func() { sub.Cancel(); m.release(name) })
			time.Sleep(100 * time.Millisecond) // so the first ones are learnt
		}
		time.Sleep(time.Second)
		if got := relayed(b1); got != peerTopics {
			t.Errorf("%d topics are relayed for one peer, want %d", got, peerTopics)
		}
		// A message crosses two volunteers that the two members don't share.
		m2sub := func() (int, func()) {
			name := topicName(greedy.secret.place("0"))
			sub := subscribed(t, m2, name)
			time.Sleep(time.Second)
			if err := m.publish(t.Context(), greedy.secret.place("0"), testHead(m, greedy, greedy.secret.place("0"))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			got := 0
			for {
				ctx := deadline(t, 100*time.Millisecond)
				if _, err := sub.Next(ctx); err != nil {
					break
				}
				got++
			}
			return got, func() { sub.Cancel(); m2.release(name) }
		}
		got, stop := m2sub()
		if got != 1 {
			t.Errorf("%d messages crossed two volunteers, want 1", got)
		}
		stop()
		for _, s := range stops {
			s()
		}
		time.Sleep(relayLinger - relaySweep)
		if got := relayed(b1); got != peerTopics {
			t.Errorf("%d topics are relayed shortly after the last subscriber left", got)
		}
		time.Sleep(4 * relaySweep)
		if a, b := relayed(b1), relayed(b2); a+b != 0 {
			t.Errorf("%d and %d topics are relayed for nobody", a, b)
		}
	})
}

// TestClassroom: everybody behind one NAT address comes within the same moment, against
// the real connection limits.
func TestClassroom(t *testing.T) {
	vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
		ownLimits := func(c *libp2p.Config) error { c.ResourceManager = nil; return nil }
		boot := virtualHost(t, n, 1, Config{Volunteer: true, Libp2p: []libp2p.Option{ownLimits}})
		cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}}
		nat := vnet.HostConfig{NAT: vnet.Restricted, Gateway: netip.MustParseAddr("1.9.9.9")}
		var class []*Host
		for i := range 60 {
			class = append(class, virtualHostAt(t, n.Host(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), nat), cfg))
		}
		booted(t, class...)
		time.Sleep(time.Minute) // nobody is thrown out again
		if got := boot.Stats().Connected; got != len(class) {
			t.Errorf("%d of %d are connected", got, len(class))
		}
	})
}

func testHead(h *Host, r *Room, at place) []byte {
	hd := newHeader(kindHead, h.self, h.clock.next(), headLife)
	return hd.sign(h.key, at, r.secret.seal("head", hd, []byte{0}))
}

// hubs measures gossip through two volunteers, to each of which all members connect,
// and to nobody else.
func hubs(t testing.TB, host func(i int, cfg Config) *Host, members, messages int) (p50, p99 time.Duration) {
	b1 := host(1, Config{Volunteer: true})
	b2 := host(2, Config{Volunteer: true})
	cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, b1), infoOf(t, b2)}}
	room, err := CreateRoom(newKey(t), RoomOptions{AnyoneSpeaks: true})
	if err != nil {
		t.Fatal(err)
	}
	at := room.secret.place("head")
	var (
		hosts []*Host
		mu    sync.Mutex
		sent  = map[uint64]time.Time{}
		took  []time.Duration
		wg    sync.WaitGroup
	)
	for i := range members {
		hosts = append(hosts, host(i+10, cfg))
	}
	booted(t, hosts...)
	for _, h := range hosts {
		sub := subscribed(t, h, topicName(at))
		wg.Go(func() {
			for {
				m, err := sub.Next(h.ctx)
				if err != nil {
					return
				}
				r := m.ValidatorData.(record)
				if r.writer == h.self {
					continue
				}
				mu.Lock()
				took = append(took, time.Since(sent[r.seq]))
				mu.Unlock()
			}
		})
		t.Cleanup(sub.Cancel)
	}
	sleep(t.Context(), 3*time.Second)
	for i := range messages {
		h := hosts[i%members]
		rec := testHead(h, room, at)
		r, err := parseRecord(rec)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		sent[r.seq] = time.Now()
		mu.Unlock()
		if err := h.publish(t.Context(), at, rec); err != nil {
			t.Fatal(err)
		}
		sleep(t.Context(), 100*time.Millisecond)
	}
	sleep(t.Context(), 5*time.Second)
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(took)
	want := messages * (members - 1)
	if len(took) != want {
		t.Fatalf("%d of %d messages delivered", len(took), want)
	}
	p50, p99 = took[len(took)/2], took[len(took)*99/100]
	t.Logf("%d members on 2 hubs: 100%% of %d delivered, p50 %v, p99 %v, worst %v", members, want, p50, p99, took[len(took)-1])
	if p99 > 500*time.Millisecond {
		t.Errorf("p99 is %v", p99)
	}
	return p50, p99
}

// TestHubs: figure 7 of the first issue, with fewer members; go test -run TestHubs
// -hubs 150 measures all of it.
func TestHubs(t *testing.T) {
	vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
		hubs(t, func(i int, cfg Config) *Host { return virtualHost(t, n, i, cfg) }, *hubMembers, 40)
	})
}

// BenchmarkHubs is the same on loopback, where computing costs time: go test -run - -bench
// Hubs -benchtime 1x -hubs 150 ./dht
func BenchmarkHubs(b *testing.B) {
	for range b.N {
		p50, p99 := hubs(b, func(_ int, cfg Config) *Host { return loopHost(b, cfg) }, *hubMembers, 40)
		b.ReportMetric(float64(p50.Milliseconds()), "p50-ms")
		b.ReportMetric(float64(p99.Milliseconds()), "p99-ms")
	}
}
