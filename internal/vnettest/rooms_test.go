package vnettest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/node"
)

// Two people are in two rooms together: one link carries both, and neither room disturbs the other.
func TestTwoRooms(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		c := newCrowd(t, n, crowdConfig{feed: feed, history: 1 << 20, log: slog.LevelError})
		c.fill(2, nil, 2*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		second, err := dht.CreateRoom(key(t, "second"), dht.RoomOptions{Name: "second", Speakers: []peer.ID{c.speaker.ID()}, Now: time.Now()})
		if err == nil {
			err = c.speaker.Host().PutRoom(ctx, second)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.task(func() error { return c.speaker.Speak(t.Context(), node.SpeakConfig{Room: second, Feed: feed}) })
		for _, m := range c.listeners {
			c.task(func() error {
				room, err := m.Host().FetchRoom(ctx, second.ID)
				if err != nil {
					return err
				}
				return m.Join(t.Context(), node.JoinConfig{Room: room})
			})
		}
		c.eventually(10*time.Second, c.listeners, has(2))
		time.Sleep(10 * time.Second)
		c.eventually(0, c.listeners, func(m *member) string {
			for _, s := range m.streams() {
				if s.Switches > 0 || lost(s) > 0 {
					return fmt.Sprintf("stream %.8s: %d changes of parent, %d lost", s.ID, s.Switches, lost(s))
				}
			}
			return has(2)(m)
		})
	})
}
