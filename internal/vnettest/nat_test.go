package vnettest

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
)

// Most people sit behind a NAT: here the speaker and all listeners but one, each behind
// one of its own that lets in only whom they spoke to. They get the stream, and pass it on.
func TestRoomBehindNATs(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		stun, err := n.Host(netip.AddrFrom4([4]byte{1, 9, 9, 9}), vnet.HostConfig{}).ServeSTUN(3478)
		if err != nil {
			t.Fatal(err)
		}
		c := newCrowd(t, n, crowdConfig{stun: stun.String(), speaker: behindNAT(1), log: slog.LevelWarn})
		c.fill(12, func(i int) vnet.HostConfig {
			if i == 2 {
				return vnet.HostConfig{}
			}
			return behindNAT(i)
		}, 5*time.Second)
		t.Logf("members by layer: %v", c.checkTree(3))

		relays := 0
		for _, m := range c.listeners {
			if s, _ := m.stream(); m.nat && s.Role == "relay" {
				relays++
			}
		}
		if relays == 0 {
			t.Error("nobody behind a NAT passes the stream on")
		}
	})
}
