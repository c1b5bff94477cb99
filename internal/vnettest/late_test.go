package vnettest

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/node"
)

// Somebody is cut off while the room gets a new secret, and told by nobody. Once back it
// finds the new record by itself, and the stream goes on.
func TestLateUnwrapper(t *testing.T) {
	for _, c := range []struct {
		who  string
		away time.Duration
	}{
		{"listener", 20 * time.Second}, {"listener", 3 * time.Minute},
		{"relay", 70 * time.Second},
		{"speaker", 20 * time.Second}, {"speaker", 70 * time.Second},
	} {
		t.Run(fmt.Sprint(c.who, " away for ", c.away), func(t *testing.T) { lateUnwrapper(t, c.who, c.away) })
	}
}

func lateUnwrapper(t *testing.T, who string, away time.Duration) {
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		e := newEpochs(t)
		stun, err := n.Host(netip.AddrFrom4([4]byte{1, 9, 255, 255}), vnet.HostConfig{}).ServeSTUN(3478)
		if err != nil {
			t.Fatal(err)
		}
		c := newCrowd(t, n, crowdConfig{
			stun: stun.String(), speaker: behindNAT(1), // so whoever is away is no server of the DHT
			feed: feed, history: 1 << 20, slots: 2, log: slog.LevelWarn, lock: e.lock(1),
			keys: func(int) dht.Keys {
				return dht.Keys{Secret: func(_ peer.ID, epoch uint16) ([32]byte, bool) { return e.secrets[epoch], true }}
			},
		})
		c.fill(6, behindNAT, 8*time.Second)

		late := c.speaker
		if who != "speaker" {
			late = c.listeners[slices.IndexFunc(c.listeners, func(m *member) bool { return (len(c.below(m)) > 0) == (who == "relay") })]
		}
		n.SetDown(late.ip, true)
		time.Sleep(away / 2)
		maker := c.start(100, vnet.HostConfig{}, node.Config{})
		c.others = append(c.others, maker)
		if err := maker.Host().Bootstrapped(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.begin(c, maker, 2)
		time.Sleep(away - away/2)
		rest := slices.DeleteFunc(append(slices.Clone(c.listeners), c.speaker), func(m *member) bool { return m == late })
		c.eventually(0, rest, inEpoch(2))
		n.SetDown(late.ip, false)
		before := c.counts()
		limit := 5 * time.Second
		if away > 30*time.Second {
			limit = 20 * time.Second // it may have just begun to dial the bootstrap node, or to wait until it does again
		}
		took := c.eventually(limit, []*member{late}, inEpoch(2))
		all := took + c.eventually(10*time.Second, c.listeners, flowing(before))
		t.Logf("in the new epoch %v after coming back, everybody live after %v", took, all)
	})
}
