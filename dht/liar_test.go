package dht

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	recordlib "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	"github.com/watergy/waterfall/internal/vnet"
)

// lies answers DHT requests at h as tell says; nil: not at all.
func lies(h *Host, tell func(ask *dhtpb.Message) *dhtpb.Message) {
	h.host.SetStreamHandler(kadProto, func(s network.Stream) {
		defer s.Reset()
		r, w := msgio.NewVarintReaderSize(s, 1<<20), msgio.NewVarintWriter(s)
		for {
			b, err := r.ReadMsg()
			if err != nil {
				return
			}
			ask := new(dhtpb.Message)
			if err := proto.Unmarshal(b, ask); err != nil {
				return
			}
			told := tell(ask)
			if told == nil {
				continue
			}
			if b, err = proto.Marshal(told); err != nil || w.WriteMsg(b) != nil {
				return
			}
		}
	})
}

// nobodies are peers that do not exist, at addresses where nobody answers.
func nobodies(t *testing.T) []*dhtpb.Message_Peer {
	var list []peer.AddrInfo
	for range 8 {
		id, err := peer.IDFromPrivateKey(newKey(t))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/1.8.8.8/udp/4001/quic-v1")}})
	}
	return dhtpb.RawPeerInfosToPBPeers(list)
}

// One of two bootstrap nodes lies about records, tells of peers that do not exist, keeps
// back what it is asked for, does not answer, or is gone. A joiner gets in by the other, and
// by the liar alone it gets into no wrong room.
func TestLyingBootstrap(t *testing.T) {
	var forged []byte // a room by the room's name, signed by another
	for name, tell := range map[string]func(t *testing.T) func(*dhtpb.Message) *dhtpb.Message{
		"honest": nil,
		"gone":   nil,
		"wrong records": func(*testing.T) func(*dhtpb.Message) *dhtpb.Message {
			return func(ask *dhtpb.Message) *dhtpb.Message {
				ask.Record = recordlib.MakePutRecord(string(ask.Key), forged)
				return ask
			}
		},
		"wrong peers": func(t *testing.T) func(*dhtpb.Message) *dhtpb.Message {
			return func(ask *dhtpb.Message) *dhtpb.Message {
				wrong := nobodies(t) // others each time
				ask.Record, ask.CloserPeers, ask.ProviderPeers = nil, wrong, wrong
				return ask
			}
		},
		"keeps back": func(*testing.T) func(*dhtpb.Message) *dhtpb.Message {
			return func(ask *dhtpb.Message) *dhtpb.Message {
				if ask.GetType() != dhtpb.Message_PUT_VALUE { // it says that it has stored what it has not
					ask.Record, ask.CloserPeers, ask.ProviderPeers = nil, nil, nil
				}
				return ask
			}
		},
		"says nothing": func(*testing.T) func(*dhtpb.Message) *dhtpb.Message {
			return func(*dhtpb.Message) *dhtpb.Message { return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
				good := virtualHost(t, n, 1, Config{Volunteer: true})
				liar := virtualHost(t, n, 2, Config{Volunteer: true, Bootstrap: []peer.AddrInfo{infoOf(t, good)}})
				booted(t, liar)
				if tell != nil {
					lies(liar, tell(t))
				}
				alone := Config{Bootstrap: []peer.AddrInfo{infoOf(t, liar)}}
				cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, liar), infoOf(t, good)}}
				sh := virtualHost(t, n, 3, cfg)
				booted(t, sh)
				room, err := CreateRoom(newKey(t), RoomOptions{Name: "right", Speakers: []peer.ID{sh.ID()}})
				if err != nil {
					t.Fatal(err)
				}
				forged = newHeader(kindRoom, liar.self, liar.clock.next(), roomLife).sign(liar.key, place{}, room.Record[headerSize:])
				start := time.Now()
				if err := sh.PutRoom(t.Context(), room); err != nil {
					t.Fatal(err)
				}
				t.Logf("the room is put after %v", time.Since(start))
				sp := enter(t, sh, room, "speaker")
				speak(t, sp, [16]byte{1})
				time.Sleep(15 * time.Second)
				if name == "gone" {
					n.SetDown(netip.AddrFrom4([4]byte{1, 1, 0, 2}), true)
				}
				start = time.Now()
				jh := virtualHost(t, n, 4, cfg)
				joinBy(t, jh, room, Keys{}, sp, nil)
				took := time.Since(start)
				t.Logf("the offer is at the speaker after %v", took)
				if took > 2*time.Second {
					t.Errorf("the join took %v", took)
				}
				if tell == nil {
					return
				}
				fooled := virtualHost(t, n, 5, alone)
				r, err := fooled.FetchRoom(deadline(t, 30*time.Second), room.ID)
				switch {
				case err == nil && r.Name != "right":
					t.Errorf("by the liar alone it is in the room %q", r.Name)
				case err != nil && !errors.Is(err, ErrNoRoom) && !errors.Is(err, ErrNotReached):
					t.Errorf("by the liar alone: %v", err)
				}
			})
		})
	}
}
