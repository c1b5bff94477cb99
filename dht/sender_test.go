package dht

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	recordlib "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/watergy/waterfall/internal/vnet"
)

// Servers that others still tell of have died: a room is put all the same, and found.
func TestDeadServers(t *testing.T) {
	for _, dead := range []int{1, 6} {
		vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
			boot := virtualHost(t, n, 1, Config{Volunteer: true})
			cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}}
			var hosts []*Host
			for i := range 10 {
				hosts = append(hosts, virtualHost(t, n, 2+i, cfg))
			}
			booted(t, hosts...)
			time.Sleep(20 * time.Second) // all are servers by then
			for i := range dead {
				n.SetDown(netip.AddrFrom4([4]byte{1, 1, 0, byte(3 + i)}), true)
			}
			room, err := CreateRoom(newKey(t), RoomOptions{AnyoneSpeaks: true})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := hosts[0].PutRoom(t.Context(), room); err != nil {
				t.Errorf("with %d dead: %v", dead, err)
			}
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("with %d dead the put took %v", dead, took)
			}
			fresh := virtualHost(t, n, 100, cfg)
			booted(t, fresh)
			if _, err := fresh.FetchRoom(t.Context(), room.ID); err != nil {
				t.Errorf("with %d dead: %v", dead, err)
			}
		})
	}
}

// FuzzReply: whatever a DHT server answers, reading it does not panic, and a value is taken
// only if it was signed for the key that was asked for.
func FuzzReply(f *testing.F) {
	w, other := newActor("writer"), newActor("other")
	key := dhtKey(kindMember, w.pub, place{1}, nil)
	h := newHeader(kindMember, w.pub, uint64(then.UnixMilli()), memberLife)
	signed := h.sign(w.key, place{1}, []byte("body"))
	moved := h.sign(w.key, place{2}, []byte("body"))
	h = newHeader(kindMember, other.pub, uint64(then.UnixMilli()), memberLife)
	foreign := h.sign(other.key, place{1}, []byte("body"))
	near := peer.AddrInfo{ID: other.pub.ID()}
	for _, value := range [][]byte{signed, moved, foreign} {
		m := dhtpb.NewMessage(dhtpb.Message_GET_VALUE, []byte(key), 0)
		m.Record = recordlib.MakePutRecord(key, value)
		m.CloserPeers = dhtpb.RawPeerInfosToPBPeers([]peer.AddrInfo{near})
		m.ProviderPeers = m.CloserPeers
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	}
	f.Add([]byte{0})
	f.Add(binary.AppendUvarint(nil, maxReply+1))
	v := validator{func() time.Time { return then }}
	ask := dhtpb.NewMessage(dhtpb.Message_GET_VALUE, []byte(key), 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readReply(bytes.NewReader(b), ask)
		if err != nil {
			return
		}
		dhtpb.PBPeersToPeerInfos(m.GetCloserPeers())
		dhtpb.PBPeersToPeerInfos(m.GetProviderPeers())
		value := m.GetRecord().GetValue()
		if v.Validate(key, value) != nil {
			return
		}
		if r, err := parseRecord(value); err != nil || r.writer != w.pub || r.verify(place{1}) != nil {
			t.Fatalf("%x is taken", value)
		}
	})
}
