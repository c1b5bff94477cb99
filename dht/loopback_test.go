package dht

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const patience = 30 * time.Second // of tests in real time: a loaded machine is slow

func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	k, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// loopHost is a host on loopback.
func loopHost(t testing.TB, cfg Config) *Host {
	t.Helper()
	cfg.Key = newKey(t)
	cfg.Listen = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	h, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// subscribed joins the topic of that name by hand, as no node would.
func subscribed(t testing.TB, h *Host, name string) *pubsub.Subscription {
	t.Helper()
	topic, err := h.join(name)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := topic.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func infoOf(t testing.TB, h *Host) peer.AddrInfo {
	t.Helper()
	ai, err := peer.AddrInfoFromP2pAddr(h.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	return *ai
}

func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// next takes one value from c within d.
func next[T any](t testing.TB, what string, c <-chan T, d time.Duration) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(d):
		t.Fatalf("no %s within %v", what, d)
		panic("unreachable")
	}
}

func enter(t testing.TB, h *Host, r *Room, role string) *Presence {
	t.Helper()
	p, err := h.Enter(r, Member{Name: role, Roles: []string{role}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Leave)
	return p
}

// speak publishes heads of stream every 2 s until the test ends, as the node does.
func speak(t testing.TB, p *Presence, stream [16]byte) {
	head := Head{Stream: stream, Seq: 1, Free: 4, Layers: []uint32{1}, Entries: []HeadEntry{{Peer: p.h.ID(), Box: p.Box(), Opening: 1, Free: 4}}}
	p.Watch(false, [][16]byte{stream})
	p.PublishHead(head)
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				head.Seq++
				p.PublishHead(head)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}
