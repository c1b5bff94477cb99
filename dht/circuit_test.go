package dht

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/watergy/waterfall/internal/vnet"
)

// behind is a host that nobody reaches from outside.
func behind(t testing.TB, n *vnet.Network, gateway string, i int, cfg Config) *Host {
	nat := vnet.HostConfig{NAT: vnet.Symmetric, Gateway: netip.MustParseAddr(gateway)}
	return virtualHostAt(t, n.Host(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), nat), cfg)
}

// circuits leaves of addresses those that lead through a volunteer.
func circuits(addrs []ma.Multiaddr) []ma.Multiaddr {
	return slices.DeleteFunc(addrs, func(a ma.Multiaddr) bool {
		_, err := a.ValueForProtocol(ma.P_CIRCUIT)
		return err != nil
	})
}

// TestCircuit: two nodes behind NATs that no packet crosses unasked talk through a
// volunteer, which holds back who asks too often, and gives one address so many slots.
func TestCircuit(t *testing.T) {
	vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
		boot := virtualHost(t, n, 1, Config{Volunteer: true})
		cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}}
		a := behind(t, n, "1.9.9.1", 1, cfg)
		var class []*Host
		for i := range slotsAddress + 1 {
			class = append(class, behind(t, n, "1.9.9.2", 2+i, cfg))
		}
		booted(t, append(class, a)...)
		time.Sleep(2 * slotLook)
		var reached []*Host
		for _, h := range class {
			if len(circuits(h.Addrs())) > 0 {
				reached = append(reached, h)
			}
		}
		if len(reached) != slotsAddress {
			t.Fatalf("%d nodes of one address have slots, want %d", len(reached), slotsAddress)
		}
		if got := circuits(boot.Addrs()); len(got) > 0 {
			t.Errorf("the volunteer is reached through %v", got)
		}
		b := reached[0]
		b.host.SetStreamHandler("/test", func(s network.Stream) {
			_, _ = io.Copy(s, s)
			_ = s.Close()
		})
		ctx := network.WithAllowLimitedConn(t.Context(), "test")
		at, err := a.kad.FindPeer(t.Context(), b.ID())
		if err != nil {
			t.Fatal(err)
		}
		if err := a.host.Connect(ctx, at); err != nil {
			t.Fatal(err)
		}
		if err := echo(ctx, a, b.ID(), maxMessage); err != nil {
			t.Errorf("an offer's size: %v", err)
		}
		if err := echo(ctx, a, b.ID(), circuitBytes); err == nil {
			t.Errorf("%d bytes and what encrypts them passed", circuitBytes)
		}

		calls := 0
		for ; calls < 4*callerBurst; calls++ {
			_ = a.host.Network().ClosePeer(b.ID())
			if a.host.Connect(ctx, at) != nil {
				break
			}
		}
		if calls < callerBurst-2 || calls == 4*callerBurst {
			t.Errorf("refused after %d circuits, want about %d", calls, callerBurst)
		}
		time.Sleep(circuitTime)
		a.forgetFailures(b.ID())
		if err := a.host.Connect(ctx, at); err != nil {
			t.Errorf("later: %v", err)
		}
		time.Sleep(circuitTime + time.Second)
		if c := a.host.Network().Connectedness(b.ID()); c != network.NotConnected {
			t.Errorf("after %v the circuit is %v", circuitTime, c)
		}
	})
}

// everybody is the blacklist of a gossipsub that hears nobody.
type everybody struct{}

func (everybody) Add(peer.ID) bool      { return false }
func (everybody) Contains(peer.ID) bool { return true }

// TestCircuitOffer: where gossip is dead, members behind NATs meet by a circuit, and offer
// and answer go through it.
func TestCircuitOffer(t *testing.T) {
	vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
		mute := pubsub.WithBlacklist(everybody{})
		boot := virtualHost(t, n, 1, Config{Volunteer: true, Gossip: []pubsub.Option{mute}})
		cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}, Gossip: []pubsub.Option{mute}}
		sh, jh := behind(t, n, "1.9.9.1", 1, cfg), behind(t, n, "1.9.9.2", 2, cfg)
		booted(t, sh, jh)
		time.Sleep(2 * slotLook)
		room := testRoom(t, RoomOptions{Name: "test", Speakers: []peer.ID{sh.ID()}})
		sp, jp := enter(t, sh, room, "speaker"), enter(t, jh, room, "listener")
		stream := [16]byte{1}
		sp.Watch(false, [][16]byte{stream})
		jp.Watch(true, nil)
		time.Sleep(time.Minute) // those whom gossip leaves alone meet
		if k := len(jh.host.Network().ConnsToPeer(sh.ID())); k < 1 || k > 2 {
			t.Errorf("%d connections, want one circuit, or one from each side", k)
		}
		began := time.Now()
		if err := jp.SendOffer(stream, sh.ID(), sp.Box(), 1, []byte("offer")); err != nil {
			t.Fatal(err)
		}
		o := next(t, "offer", sp.Offers(), 5*time.Second)
		if err := sp.SendAnswer(o, []byte("answer")); err != nil {
			t.Fatal(err)
		}
		a := next(t, "answer", jp.Answers(), 5*time.Second)
		t.Logf("an answer after %v, offer by %s, answer by %s", time.Since(began), o.Via, a.Via)
		if o.Via != Direct || a.Via != Direct {
			t.Errorf("offer by %s, answer by %s", o.Via, a.Via)
		}
	})
}

// echo sends so many bytes and reads them back.
func echo(ctx context.Context, h *Host, to peer.ID, size int) error {
	s, err := h.host.NewStream(ctx, to, "/test")
	if err != nil {
		return err
	}
	defer s.Reset()
	if err := s.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	go func() {
		_, _ = s.Write(make([]byte, size))
		_ = s.CloseWrite()
	}()
	_, err = io.ReadFull(s, make([]byte, size))
	return err
}
