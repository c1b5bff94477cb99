package dht

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/watergy/waterfall/dht/pgp"
)

// TestJoin goes the way of a joiner by each carrier: ticket, bootstrap, room record,
// head, offer, answer.
func TestJoin(t *testing.T) {
	for _, c := range []struct {
		signal Signal
		anyone bool
		skew   time.Duration // of the joiner's clock
	}{
		{Both, false, 0},
		{Gossip, false, 0},
		{Gossip, true, -time.Hour},
		{DHT, false, 0},
		{DHT, true, 0},
		{DHT, false, time.Hour},
		{DHT, true, -time.Hour},
	} {
		name := string(c.signal)
		if c.anyone {
			name += "/anyone speaks"
		}
		if c.skew != 0 {
			name += "/clock off"
		}
		t.Run(name, func(t *testing.T) {
			boot := loopHost(t, Config{Volunteer: true})
			cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}, Signal: c.signal}
			sh := loopHost(t, cfg)
			if err := sh.Bootstrapped(deadline(t, patience)); err != nil {
				t.Fatal(err)
			}
			o := RoomOptions{Name: "test room", Speakers: []peer.ID{sh.ID()}}
			if c.anyone {
				o = RoomOptions{AnyoneSpeaks: true}
			}
			room, err := CreateRoom(newKey(t), o)
			if err != nil {
				t.Fatal(err)
			}
			if err := sh.PutRoom(deadline(t, patience), room); err != nil {
				t.Fatal(err)
			}
			sp := enter(t, sh, room, "speaker")
			stream := [16]byte{1, 2, 3}
			speak(t, sp, stream)

			began := time.Now()
			cfg.skew = c.skew
			jh := loopHost(t, cfg)
			if err := jh.Bootstrapped(deadline(t, patience)); err != nil {
				t.Fatal(err)
			}
			booted := time.Since(began)
			jroom, err := jh.FetchRoom(deadline(t, patience), room.ID)
			if err != nil {
				t.Fatal(err)
			}
			fetched := time.Since(began)
			jp := enter(t, jh, jroom, "listener")
			jp.Watch(true, nil)
			head := next(t, "head", jp.Heads(), patience)
			headed := time.Since(began)
			if head.Speaker != sh.ID() || head.Stream != stream || len(head.Entries) != 1 || head.Entries[0].Box != sp.Box() {
				t.Fatalf("head %+v", head)
			}
			if err := jp.SendOffer(stream, head.Entries[0].Peer, head.Entries[0].Box, 42, []byte("offer")); err != nil {
				t.Fatal(err)
			}
			offer := next(t, "offer", sp.Offers(), patience)
			offered := time.Since(began)
			if offer.Joiner != jh.ID() || offer.ID != 42 || string(offer.Body) != "offer" || offer.Box != jp.Box() {
				t.Fatalf("offer %+v", offer)
			}
			// It falls down the tree once.
			offer, err = sp.ParseForwarded(offer.Forward())
			if err != nil {
				t.Fatal(err)
			}
			if err := sp.SendAnswer(offer, []byte("answer")); err != nil {
				t.Fatal(err)
			}
			answer := next(t, "answer", jp.Answers(), patience)
			if answer.From != sh.ID() || answer.ID != 42 || answer.Stream != stream || string(answer.Body) != "answer" {
				t.Fatalf("answer %+v", answer)
			}
			t.Logf("bootstrapped %v, room %v, head %v, offer %v, answer %v by %s", booted, fetched, headed, offered, time.Since(began), answer.Via)
			if c.signal != Both && answer.Via != c.signal {
				t.Errorf("the answer came by %s", answer.Via)
			}
			select {
			case o := <-sp.Offers():
				t.Errorf("the offer came twice, by %s", o.Via)
			case a := <-jp.Answers():
				t.Errorf("the answer came twice, by %s", a.Via)
			default:
			}
		})
	}
}

// TestNoBootstrapNode: a speaker whose own address is in the ticket is DHT server and
// relay for its listeners, who know nobody else.
func TestNoBootstrapNode(t *testing.T) {
	for _, signal := range []Signal{Both, Gossip, DHT} {
		t.Run(string(signal), func(t *testing.T) {
			sh := loopHost(t, Config{Signal: signal})
			room, err := CreateRoom(newKey(t), RoomOptions{Speakers: []peer.ID{sh.ID()}})
			if err != nil {
				t.Fatal(err)
			}
			if err := sh.PutRoom(deadline(t, patience), room); err != nil {
				t.Fatal(err)
			}
			sp := enter(t, sh, room, "speaker")
			stream := [16]byte{9}
			speak(t, sp, stream)
			began := time.Now()
			var ps []*Presence
			for range 2 {
				h := loopHost(t, Config{Bootstrap: []peer.AddrInfo{infoOf(t, sh)}, Signal: signal})
				if err := h.Bootstrapped(deadline(t, patience)); err != nil {
					t.Fatal(err)
				}
				r, err := h.FetchRoom(deadline(t, patience), room.ID)
				if err != nil {
					t.Fatal(err)
				}
				p := enter(t, h, r, "listener")
				p.Watch(true, nil)
				next(t, "head", p.Heads(), patience)
				ps = append(ps, p)
			}
			// The second joins below the first.
			entry, joiner := ps[0], ps[1]
			entry.Watch(false, [][16]byte{stream})
			if err := joiner.SendOffer(stream, entry.h.ID(), entry.Box(), 1, []byte("offer")); err != nil {
				t.Fatal(err)
			}
			if err := entry.SendAnswer(next(t, "offer", entry.Offers(), patience), []byte("answer")); err != nil {
				t.Fatal(err)
			}
			if a := next(t, "answer", joiner.Answers(), patience); a.From != entry.h.ID() {
				t.Errorf("answer %+v", a)
			}
			t.Logf("took %v", time.Since(began))
			select {
			case o := <-sp.Offers():
				t.Errorf("the speaker got an offer sealed to another: %+v", o)
			default:
			}
		})
	}
}

// TestEnded: a stream's end is in the DHT also when its speaker leaves at once.
func TestEnded(t *testing.T) {
	boot := loopHost(t, Config{Volunteer: true})
	cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}, Signal: DHT}
	sh, jh := loopHost(t, cfg), loopHost(t, cfg)
	for _, h := range []*Host{sh, jh} {
		if err := h.Bootstrapped(deadline(t, patience)); err != nil {
			t.Fatal(err)
		}
	}
	room, err := CreateRoom(newKey(t), RoomOptions{Speakers: []peer.ID{sh.ID()}})
	if err != nil {
		t.Fatal(err)
	}
	sp := enter(t, sh, room, "speaker")
	sp.PublishHead(Head{Stream: [16]byte{1}, Seq: 1})
	sp.PublishHead(Head{Stream: [16]byte{1}, Seq: 2, Ended: true})
	sp.Leave()
	jp := enter(t, jh, room, "listener")
	jp.Watch(true, nil)
	if h := next(t, "head", jp.Heads(), patience); !h.Ended || h.Seq != 2 {
		t.Errorf("head %+v", h)
	}
}

// TestMembers: the DHT lists who is there, and not who has left.
func TestMembers(t *testing.T) {
	boot := loopHost(t, Config{Volunteer: true})
	cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}}
	room, err := CreateRoom(newKey(t), RoomOptions{AnyoneSpeaks: true})
	if err != nil {
		t.Fatal(err)
	}
	var ids []peer.ID
	var last *Presence
	for range 3 {
		h := loopHost(t, cfg)
		if err := h.Bootstrapped(deadline(t, patience)); err != nil {
			t.Fatal(err)
		}
		last = enter(t, h, room, "listener")
		ids = append(ids, h.ID())
	}
	looker := loopHost(t, cfg)
	list := func(want []peer.ID) {
		t.Helper()
		slices.Sort(want)
		var got []peer.ID
		for ctx := deadline(t, patience); ctx.Err() == nil; {
			members, err := looker.Members(ctx, room)
			if err != nil {
				t.Fatal(err)
			}
			got = nil
			for _, m := range members {
				got = append(got, m.Peer)
				if m.Name != "listener" || !slices.Equal(m.Roles, []string{"listener"}) {
					t.Fatalf("member %+v", m)
				}
			}
			slices.Sort(got)
			if slices.Equal(got, want) {
				return
			}
		}
		t.Fatalf("members %v, want %v", got, want)
	}
	list(slices.Clone(ids))
	last.Leave()
	list(slices.Clone(ids[:2]))
}

// TestCreatorOffline: a member that has the record puts it again for others.
func TestCreatorOffline(t *testing.T) {
	room, err := CreateRoom(newKey(t), RoomOptions{Name: "kept", AnyoneSpeaks: true})
	if err != nil {
		t.Fatal(err)
	}
	boot := loopHost(t, Config{Volunteer: true})
	cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}}
	member := loopHost(t, cfg)
	copied, err := OpenRoom(room.ID, room.Record)
	if err != nil {
		t.Fatal(err)
	}
	enter(t, member, copied, "listener")
	other := loopHost(t, cfg)
	for ctx := deadline(t, patience); ; {
		r, err := other.FetchRoom(ctx, room.ID)
		if err == nil && r.Name == "kept" {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestOneFailedRequest: kad-dht forgets a peer at its first failed request; with one
// bootstrap node a host must not be cut off by that.
func TestOneFailedRequest(t *testing.T) {
	boot := loopHost(t, Config{Volunteer: true})
	cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}}
	a, b := loopHost(t, cfg), loopHost(t, cfg)
	room, err := CreateRoom(newKey(t), RoomOptions{AnyoneSpeaks: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*Host{a, b} {
		if err := h.Bootstrapped(deadline(t, patience)); err != nil {
			t.Fatal(err)
		}
		h.kad.RoutingTable().RemovePeer(boot.ID())
	}
	if err := a.PutRoom(deadline(t, patience), room); err != nil {
		t.Error(err)
	}
	if _, err := b.FetchRoom(deadline(t, patience), room.ID); err != nil {
		t.Error(err)
	}
}

func TestNoRoom(t *testing.T) {
	boot := loopHost(t, Config{Volunteer: true})
	h := loopHost(t, Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}})
	if err := h.Bootstrapped(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.FetchRoom(deadline(t, patience), boot.ID()); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a peer ID that is no room: %v", err)
	}
	boot.host.Network().Close()
	lone := loopHost(t, Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}})
	err := lone.Bootstrapped(deadline(t, 200*time.Millisecond))
	if err == nil {
		t.Fatal("a closed bootstrap node answered")
	}
	t.Log(err)
	if _, err := lone.FetchRoom(deadline(t, 200*time.Millisecond), boot.ID()); !errors.Is(err, ErrNotReached) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody to ask: %v", err)
	}
}

// TestBadConfig: what a person gets wrong is one line with a hint.
func TestBadConfig(t *testing.T) {
	taken := loopHost(t, Config{}).Addrs()[0]
	port, _ := ma.SplitFunc(taken, func(c ma.Component) bool { return c.Protocol().Code == ma.P_P2P })
	for name, cfg := range map[string]Config{
		"port in use": {Key: newKey(t), Listen: []ma.Multiaddr{port}},
		"WebRTC":      {Key: newKey(t), Listen: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/0/webrtc-direct")}},
		"odd signal":  {Key: newKey(t), Signal: "pigeon"},
	} {
		h, err := New(t.Context(), cfg)
		if err == nil {
			h.Close()
			t.Errorf("%s is accepted", name)
			continue
		}
		if e := err.Error(); strings.Contains(e, "\n") || !strings.Contains(e, "(hint: ") {
			t.Errorf("%s: not a line for a person: %q", name, e)
		}
		t.Log(err)
	}
}

// TestLAN: two laptops whose bootstrap node is gone find each other by mDNS, and keep
// each other's records.
func TestLAN(t *testing.T) {
	gone := peer.AddrInfo{ID: newActor("gone").pub.ID(), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/9/quic-v1")}}
	a := loopHost(t, Config{Bootstrap: []peer.AddrInfo{gone}})
	b := loopHost(t, Config{Bootstrap: []peer.AddrInfo{gone}})
	found{a}.HandlePeerFound(infoOf(t, b))
	found{b}.HandlePeerFound(infoOf(t, a))
	room, err := CreateRoom(newKey(t), RoomOptions{AnyoneSpeaks: true})
	if err != nil {
		t.Fatal(err)
	}
	enter(t, a, room, "speaker")
	for ctx := deadline(t, patience); ; {
		_, err := b.FetchRoom(ctx, room.ID)
		if err == nil && a.Stats().Mode == "server" && b.Stats().Mode == "server" {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("alone on the LAN: %v, %+v, %+v", err, a.Stats(), b.Stats())
		}
	}
}

// A PGP room through the DHT: who is admitted finds its wrap, members hear by gossip of
// a new epoch, and who was removed can't open it.
func TestClosedRoom(t *testing.T) {
	boot := loopHost(t, Config{Volunteer: true})
	cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}}
	ann, annKey := pgpKey(t, "ann")
	bob, bobKey := pgpKey(t, "bob")
	sh, maker := loopHost(t, cfg), newKey(t)
	record := func(epoch uint16, secret [32]byte, to ...pgp.Recipient) *Room {
		lock, err := LockPGP(secret, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := CreateRoom(maker, RoomOptions{Name: "closed", Epoch: epoch, Lock: lock, Speakers: []peer.ID{sh.ID()}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := record(1, NewSecret(), ann, bob)
	if err := sh.Bootstrapped(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	if err := sh.PutRoom(deadline(t, patience), first); err != nil {
		t.Fatal(err)
	}
	open := func(key pgp.Owner) *Presence {
		h := loopHost(t, cfg)
		r, err := h.FetchRoomWith(deadline(t, patience), first.ID, Keys{PGP: key})
		if err != nil {
			t.Fatal(err)
		}
		p := enter(t, h, r, "listener")
		p.Watch(true, nil)
		return p
	}
	speaker := enter(t, sh, first, "speaker")
	speak(t, speaker, [16]byte{1})
	a, b := open(annKey), open(bobKey)
	next(t, "head", a.Heads(), patience)
	next(t, "head", b.Heads(), patience)

	// An outsider with the ID alone has only what is public.
	out := loopHost(t, cfg)
	if _, err := out.FetchRoom(deadline(t, patience), first.ID); !errors.Is(err, ErrClosedRoom) {
		t.Errorf("without a key: %v", err)
	}
	_, eve := pgpKey(t, "eve")
	if _, err := out.FetchRoomWith(deadline(t, patience), first.ID, Keys{PGP: eve}); !errors.Is(err, ErrRefused) {
		t.Errorf("with another's key: %v", err)
	}

	second := record(2, NewSecret(), ann)
	other := loopHost(t, cfg)
	if err := other.Bootstrapped(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	if err := other.PutRoom(deadline(t, patience), second); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := other.Announce(deadline(t, patience), first); err != nil {
		t.Fatal(err)
	}
	raw := next(t, "new record", a.Records(), patience)
	t.Logf("the new record was known after %v", time.Since(start))
	renewed, err := a.h.Reopen(deadline(t, patience), a.room(), raw)
	if err != nil || renewed.Epoch != 2 {
		t.Fatalf("ann does not open the new epoch: %v", err)
	}
	if _, err := b.h.Reopen(deadline(t, patience), b.room(), next(t, "new record", b.Records(), patience)); !errors.Is(err, ErrRefused) {
		t.Errorf("bob, removed, opens the new epoch: %v", err)
	}
	a2 := a.Renew(renewed)
	t.Cleanup(a2.Leave)
	s2 := speaker.Renew(second)
	t.Cleanup(s2.Leave)
	if a2 == a || a2.Box() != a.Box() {
		t.Error("the presence of a new epoch is the old one, or has another box")
	}
	a2.Watch(true, nil)
	speak(t, s2, [16]byte{1})
	next(t, "head of the new epoch", a2.Heads(), patience)
}
