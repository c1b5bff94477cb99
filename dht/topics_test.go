package dht

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"

	"github.com/watergy/waterfall/internal/vnet"
)

// FuzzTopic: peers name the topics that they subscribe to; each place has one name.
func FuzzTopic(f *testing.F) {
	f.Add(topicName(place{1}))
	f.Add(topicPrefix + strings.Repeat("A", 20) + "\n\n")
	f.Fuzz(func(t *testing.T, name string) {
		if at, ok := parseTopic(name); ok && topicName(at) != name {
			t.Fatalf("%q is read as %q", name, topicName(at))
		}
	})
}

// refusals counts the messages that a host has read and found invalid.
type refusals struct{ atomic.Int64 }

func (r *refusals) Trace(e *pb.TraceEvent) {
	if e.GetType() == pb.TraceEvent_REJECT_MESSAGE {
		r.Add(1)
	}
}

// A neighbour brings ten messages a second that do not validate: less than twenty are read, and
// then no more; minutes later it is heard again.
func TestJunkGossip(t *testing.T) {
	vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
		var refused refusals
		victim := virtualHost(t, n, 1, Config{Volunteer: true, Gossip: []pubsub.Option{pubsub.WithEventTracer(&refused)}})
		name := topicName(place{1})
		defer subscribed(t, victim, name).Cancel()

		spoiler, err := libp2p.New(n.Host(netip.AddrFrom4([4]byte{1, 1, 0, 2}), vnet.HostConfig{}).Libp2pOptions()...)
		if err != nil {
			t.Fatal(err)
		}
		defer spoiler.Close()
		ps, err := pubsub.NewGossipSub(t.Context(), spoiler,
			pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(),
			pubsub.WithMessageIdFn(func(m *pb.Message) string { return string(m.Data) }))
		if err != nil {
			t.Fatal(err)
		}
		topic, err := ps.Join(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := spoiler.Connect(t.Context(), infoOf(t, victim)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		said := 0
		spoil := func() (read int) {
			before := refused.Load()
			for range 100 {
				said++
				if err := topic.Publish(t.Context(), fmt.Append(nil, "junk ", said)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			return int(refused.Load() - before)
		}
		read := spoil()
		t.Logf("%d are read", read)
		if read < 10 || read > 30 {
			t.Errorf("%d of 100 invalid messages are read, want about 18", read)
		}
		time.Sleep(3 * time.Minute)
		read = spoil()
		t.Logf("after three minutes' rest %d more", read)
		if read < 5 || read > 30 {
			t.Errorf("after three minutes' rest %d of 100 are read", read)
		}
	})
}
