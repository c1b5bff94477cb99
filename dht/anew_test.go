package dht

import (
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/internal/vnet"
)

// TestStartedAnew: a speaker's machine dies and the speaker is started again elsewhere: it is
// heard at once, though its bootstrap node does not know yet that it was gone.
func TestStartedAnew(t *testing.T) {
	vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
		hub := virtualHost(t, n, 1, Config{Volunteer: true})
		cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, hub)}}
		jh := virtualHost(t, n, 2, cfg)
		cfg.Key = newKey(t)
		first := netip.MustParseAddr("1.2.0.1")
		sh := virtualHostAt(t, n.Host(first, vnet.HostConfig{}), cfg)
		booted(t, jh, sh)
		room := testRoom(t, RoomOptions{Name: "test", Speakers: []peer.ID{sh.ID()}})
		jp := enter(t, jh, room, "listener")
		jp.Watch(true, nil)
		speak(t, enter(t, sh, room, "speaker"), [16]byte{1})
		if h := next(t, "head", jp.Heads(), 3*time.Second); h.Stream[0] != 1 {
			t.Fatalf("a head of stream %d", h.Stream[0])
		}
		time.Sleep(10 * time.Second)
		n.SetDown(first, true)
		time.Sleep(time.Second)

		began := time.Now()
		sh = virtualHostAt(t, n.Host(netip.MustParseAddr("1.2.0.2"), vnet.HostConfig{}), cfg)
		booted(t, sh)
		speak(t, enter(t, sh, room, "speaker"), [16]byte{2})
		for next(t, "head of the new stream", jp.Heads(), 5*time.Second).Stream[0] != 2 {
		}
		took := time.Since(began)
		t.Logf("heard after %v", took)
		if took > anewProbe+500*time.Millisecond { // and the way in
			t.Errorf("heard after %v", took)
		}
	})
}
