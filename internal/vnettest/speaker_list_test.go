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

// has says what keeps m from having so many live streams, and no others.
func has(live int) func(*member) string {
	return func(m *member) string {
		if k := len(m.streams()); k != live {
			return fmt.Sprintf("has %d live streams, want %d", k, live)
		}
		return ""
	}
}

// A member that is not on the list of speakers speaks all the same: nobody follows it, so
// nobody forwards it. It is put on the list, and heard; it is taken off, and gone.
func TestSpeakerList(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		c := newCrowd(t, n, crowdConfig{feed: feed, history: 1 << 20, log: slog.LevelError})
		for i := range 5 {
			c.join(2+i, vnet.HostConfig{})
		}
		other := c.start(50, vnet.HostConfig{}, node.Config{})
		c.others = append(c.others, other)
		everybody := append(c.listeners[:5:5], c.speaker)
		c.task(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := other.Host().Bootstrapped(ctx); err != nil {
				return err
			}
			room := *c.room
			room.AnyoneSpeaks = true                                            // so it wishes
			other.Speak(t.Context(), node.SpeakConfig{Room: &room, Feed: feed}) // until it is turned out
			return nil
		})
		c.eventually(20*time.Second, c.listeners, flowing(nil))
		c.eventually(20*time.Second, []*member{other}, func(m *member) string {
			for _, s := range m.streams() {
				if s.Role == "speaker" {
					return ""
				}
			}
			return "does not speak"
		})
		time.Sleep(20 * time.Second)
		c.eventually(0, everybody, has(1))
		for _, s := range other.streams() {
			if s.Role == "speaker" && (len(s.Children) > 0 || s.MediaBytes.Out > 0) {
				t.Errorf("one who may not speak has %d children", len(s.Children))
			}
		}

		sign := func(speakers ...peer.ID) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			r, err := dht.CreateRoom(key(t, "room"), dht.RoomOptions{Name: "crowd", Speakers: speakers, Now: time.Now()})
			if err == nil {
				err = c.volunteer.Host().PutRoom(ctx, r)
			}
			if err == nil {
				err = c.volunteer.Host().Announce(ctx, c.room)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		sign(c.speaker.ID(), other.ID())
		c.eventually(20*time.Second, everybody, has(2))
		t.Logf("put on the list: heard by all after %v at most", time.Since(start))
		start = time.Now()
		sign(c.speaker.ID())
		c.eventually(5*time.Second, everybody, has(1))
		t.Logf("taken off the list: gone after %v at most", time.Since(start))
		time.Sleep(5 * time.Second)
		c.eventually(0, everybody, has(1))
	})
}

// A stream ends when its speaker says so; when it falls silent without a word, 30 s later.
func TestStreamsEnd(t *testing.T) {
	known := func(live int) func(*member) string {
		return func(m *member) string {
			if k := len(m.Status().Rooms[0].Streams); k != live {
				return fmt.Sprintf("knows %d streams, want %d", k, live)
			}
			return ""
		}
	}
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		p := newPanel(t, n, 3, 3)
		p.eventually(20*time.Second, p.all, has(3))
		p.speakers[1].gone.Store(true)
		p.speakers[1].Close()
		took := p.eventually(3*time.Second, p.listeners, has(2))
		t.Logf("one says that it ends: over after %v", took)
		p.eventually(10*time.Second, p.listeners, known(2))

		n.SetDown(p.speakers[2].ip, true)
		p.eventually(5*time.Second, p.listeners, has(1))
		time.Sleep(20 * time.Second)
		p.eventually(0, p.listeners, known(2)) // it may come back
		took = p.eventually(20*time.Second, p.listeners, known(1))
		t.Logf("one falls silent: forgotten %v after 25 s", took)
	})
}
