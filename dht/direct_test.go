package dht

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/internal/vnet"
)

// TestDirect: a joiner that is connected to the entry gets its answer past gossip, once,
// and what is no offer or answer for a room of ours gets nobody's ear.
func TestDirect(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		hub := virtualHost(t, n, 1, Config{Volunteer: true})
		cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, hub)}}
		sh, jh := virtualHost(t, n, 2, cfg), virtualHost(t, n, 3, cfg)
		booted(t, sh, jh)
		room := testRoom(t, RoomOptions{Name: "test", Speakers: []peer.ID{sh.ID()}})
		sp, jp := enter(t, sh, room, "speaker"), enter(t, jh, room, "listener")
		stream := [16]byte{1}
		sp.Watch(false, [][16]byte{stream})
		jp.Watch(true, nil)
		time.Sleep(3 * time.Second)

		if err := jh.host.Connect(t.Context(), infoOf(t, sh)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := jp.SendOffer(stream, sh.ID(), sp.Box(), 1, []byte("offer")); err != nil {
			t.Fatal(err)
		}
		o := next(t, "offer", sp.Offers(), time.Second)
		if err := sp.SendAnswer(o, []byte("answer")); err != nil {
			t.Fatal(err)
		}
		a := next(t, "answer", jp.Answers(), time.Second)
		took := time.Since(began)
		t.Logf("an answer after %v, offer by %s, answer by %s", took, o.Via, a.Via)
		if took > 60*time.Millisecond { // a round trip
			t.Errorf("the answer took %v", took)
		}
		time.Sleep(2 * time.Second)
		if more := len(sp.Offers()) + len(jp.Answers()); a.ID != 1 || more > 0 {
			t.Errorf("answer %+v, and %d more", a, more)
		}

		// Past gossip alone.
		rec, _, err := sealOffer(&room.secret, jh.key, jp.box, jh.clock.next(), stream, sp.Box(), 3, []byte("offer"))
		if err != nil {
			t.Fatal(err)
		}
		at := room.secret.place("offers")
		began = time.Now()
		if err := jh.bring(t.Context(), sh.ID(), at, rec); err != nil {
			t.Fatal(err)
		}
		if o := next(t, "offer", sp.Offers(), time.Second); o.ID != 3 || o.Via != Direct {
			t.Errorf("brought offer %d by %s", o.ID, o.Via)
		}
		t.Logf("an offer alone, directly: %v", time.Since(began))

		elsewhere := room.secret.place("head")
		for name, b := range map[string][]byte{
			"nothing":         nil,
			"a place only":    at[:],
			"too long":        slices.Concat(at[:], rec, make([]byte, maxMessage)),
			"another place":   slices.Concat(elsewhere[:], rec),
			"a changed byte":  slices.Concat(at[:], rec[:len(rec)-1], []byte{rec[len(rec)-1] ^ 1}),
			"a head":          slices.Concat(elsewhere[:], testHead(jh, room, elsewhere)),
			"what stays open": append(at[:len(at):len(at)], 1),
		} {
			s, err := jh.host.NewStream(t.Context(), sh.ID(), signalProto)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write(b); err != nil {
				t.Fatal(err)
			}
			if name != "what stays open" {
				if err := s.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			_ = s.SetReadDeadline(time.Now().Add(2 * directTime))
			if _, err := io.ReadAll(s); !isReset(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		time.Sleep(time.Second)
		if k := len(sp.Offers()); k > 0 {
			t.Errorf("%d offers came of rubbish", k)
		}
		for range 3 * writerBurst {
			_ = jh.bring(t.Context(), sh.ID(), at, rec)
		}
		time.Sleep(time.Second)
		if sh.Stats().Dropped == 0 {
			t.Error("a flood is not held back")
		}
	})
}

func isReset(err error) bool {
	_, ok := err.(*network.StreamError)
	return ok
}
