package dht

import (
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

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
