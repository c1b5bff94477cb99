package vnet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// newLibp2p starts a libp2p host whose identity follows from the address.
func newLibp2p(t *testing.T, h *Host, opts ...libp2p.Option) host.Host {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.NewChaCha8(sha256.Sum256(h.ip.AsSlice())))
	if err != nil {
		t.Fatal(err)
	}
	p, err := libp2p.New(append(append([]libp2p.Option{libp2p.Identity(key)}, opts...), h.Libp2pOptions()...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func infoOf(h host.Host) peer.AddrInfo { return peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()} }

func TestLibp2pPing(t *testing.T) {
	Run(t, Config{DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *Network) {
		// Options that the network must overrule.
		a := newLibp2p(t, n.Host(addr(1), HostConfig{}), libp2p.ListenAddrStrings("/ip4/0.0.0.0/tcp/0"), libp2p.NATPortMap(),
			libp2p.BandwidthReporter(metrics.NewBandwidthCounter()))
		b := newLibp2p(t, n.Host(addr(2), HostConfig{NAT: Restricted}))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := a.Connect(ctx, infoOf(b)); err == nil {
			t.Error("reached a host behind a NAT")
		}
		start := time.Now()
		if err := b.Connect(ctx, infoOf(a)); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 100*time.Millisecond || d > 300*time.Millisecond {
			t.Errorf("connecting took %v at 50 ms a round trip", d)
		}
		if r := <-ping.Ping(ctx, a, b.ID()); r.Error != nil || r.RTT < 50*time.Millisecond || r.RTT > 55*time.Millisecond {
			t.Errorf("ping: %v, %v", r.RTT, r.Error)
		}
		if c := n.hosts[addr(1)].Protocols()[ping.ID]; c.In < 32 || c.Out < 32 {
			t.Errorf("ping took %+v", c)
		}
	})
}

func TestKadDHTAndGossip(t *testing.T) {
	const nodes = 10
	wall0, cpu0 := Clock()
	Run(t, Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *Network) {
		ctx := t.Context()
		var dhts []*kaddht.IpfsDHT
		var subs []*pubsub.Subscription
		var topics []*pubsub.Topic
		for i := range nodes {
			h := newLibp2p(t, n.Host(addr(byte(i+1)), HostConfig{Loss: 0.01}))
			d, err := kaddht.New(h, kaddht.Mode(kaddht.ModeServer), kaddht.ProtocolPrefix("/waterfall"),
				kaddht.DisableAutoRefresh(), kaddht.Validator(anything{}))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			dhts = append(dhts, d)
			ps, err := pubsub.NewGossipSub(ctx, h)
			if err != nil {
				t.Fatal(err)
			}
			topic, err := ps.Join("test")
			if err != nil {
				t.Fatal(err)
			}
			sub, err := topic.Subscribe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(sub.Cancel)
			topics, subs = append(topics, topic), append(subs, sub)
			if i > 0 {
				if err := h.Connect(ctx, infoOf(dhts[0].Host())); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Second)
		for _, d := range dhts {
			if _, err := d.GetClosestPeers(ctx, string(d.PeerID())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)

		if err := dhts[3].PutValue(ctx, "/test/key", []byte("value")); err != nil {
			t.Fatal(err)
		}
		if v, err := dhts[7].GetValue(ctx, "/test/key"); err != nil || string(v) != "value" {
			t.Errorf("got %q, %v", v, err)
		}

		for i, topic := range topics {
			if err := topic.Publish(ctx, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		got := 0
		for _, sub := range subs {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			for range topics {
				if _, err := sub.Next(ctx); err == nil {
					got++
				}
			}
			cancel()
		}
		if got != nodes*nodes {
			t.Errorf("%d of %d messages delivered", got, nodes*nodes)
		}
		s := n.Stats()
		if s.Lost == 0 || s.QueueDrops+s.Filtered+s.Cut+s.Unreachable+s.TooLarge > 0 {
			t.Errorf("on a line with nothing but loss: %+v", s)
		}
		t.Logf("%+v", s)
	})
	wall, cpu := Clock()
	t.Logf("%v wall, %v CPU", wall-wall0, cpu-cpu0)
}

// anything is a DHT validator that takes every value.
type anything struct{}

func (anything) Validate(string, []byte) error        { return nil }
func (anything) Select(string, [][]byte) (int, error) { return 0, nil }

func TestPion(t *testing.T) {
	behind := func(nat NAT, gateway byte) HostConfig { return HostConfig{NAT: nat, Gateway: addr(gateway)} }
	private := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, last}) }
	for _, tc := range []struct {
		name     string
		ipA, ipB netip.Addr
		a, b     HostConfig
		connects bool
	}{
		{"open", addr(1), addr(2), HostConfig{Loss: 0.01}, HostConfig{}, true},
		{"filter on both", addr(1), addr(2), HostConfig{NAT: Restricted}, HostConfig{NAT: Restricted}, true},
		{"restricted restricted", private(1), private(2), behind(Restricted, 11), behind(Restricted, 12), true},
		{"symmetric open", private(1), addr(2), behind(Symmetric, 11), HostConfig{}, true},
		{"symmetric restricted", private(1), private(2), behind(Symmetric, 11), behind(Restricted, 12), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			Run(t, Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *Network) {
				server, err := n.Host(addr(100), HostConfig{}).ServeSTUN(3478)
				if err != nil {
					t.Fatal(err)
				}
				a := newPion(t, n.Host(tc.ipA, tc.a), server)
				b := newPion(t, n.Host(tc.ipB, tc.b), server)
				start := time.Now()
				opened := make(chan struct{})
				got := make(chan string, 1)
				ch, err := a.CreateDataChannel("test", nil)
				if err != nil {
					t.Fatal(err)
				}
				ch.OnOpen(func() { close(opened) })
				b.OnDataChannel(func(ch *webrtc.DataChannel) {
					ch.OnMessage(func(m webrtc.DataChannelMessage) { got <- string(m.Data) })
				})
				connect(t, a, b)
				select {
				case <-opened:
				case <-time.After(20 * time.Second):
				}
				err = ch.SendText("hello")
				if (err == nil) != tc.connects {
					t.Fatalf("connects: %v, want %v", err == nil, tc.connects)
				}
				if !tc.connects {
					return
				}
				select {
				case m := <-got:
					if m != "hello" {
						t.Errorf("got %q", m)
					}
				case <-time.After(10 * time.Second):
					t.Error("nothing came down the data channel")
				}
				t.Logf("connected and said hello in %v", time.Since(start))
			})
		})
	}
}

func newPion(t *testing.T, h *Host, stun netip.AddrPort) *webrtc.PeerConnection {
	t.Helper()
	var se webrtc.SettingEngine
	se.SetNet(h.Transport())
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{
		ICEServers: []webrtc.ICEServer{{URLs: []string{"stun:" + stun.String()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.GracefulClose() })
	return pc
}

// connect exchanges offer and answer once their candidates are gathered.
func connect(t *testing.T, a, b *webrtc.PeerConnection) {
	t.Helper()
	describe := func(pc *webrtc.PeerConnection, make func() (webrtc.SessionDescription, error)) webrtc.SessionDescription {
		d, err := make()
		if err != nil {
			t.Fatal(err)
		}
		gathered := webrtc.GatheringCompletePromise(pc)
		if err := pc.SetLocalDescription(d); err != nil {
			t.Fatal(err)
		}
		<-gathered
		return *pc.LocalDescription()
	}
	offer := describe(a, func() (webrtc.SessionDescription, error) { return a.CreateOffer(nil) })
	if err := b.SetRemoteDescription(offer); err != nil {
		t.Fatal(err)
	}
	answer := describe(b, func() (webrtc.SessionDescription, error) { return b.CreateAnswer(nil) })
	if err := a.SetRemoteDescription(answer); err != nil {
		t.Fatal(err)
	}
}
