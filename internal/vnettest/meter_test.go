package vnettest

import (
	"context"
	"maps"
	"sync"

	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	kadpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"
)

// meter counts what a node's control traffic is for: gossip's bytes both ways by the
// kind of record and by gossipsub's own messages, requests of the DHT by their type.
type meter struct {
	mu       sync.Mutex
	bytes    map[string]int
	requests map[string]int
}

func newMeter() *meter { return &meter{bytes: map[string]int{}, requests: map[string]int{}} }

// read returns both counts as they are now.
func (m *meter) read() (bytes, requests map[string]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.bytes), maps.Clone(m.requests)
}

func (m *meter) gossip() []pubsub.Option {
	return []pubsub.Option{pubsub.WithRawTracer(rpcMeter{m: m})}
}

func (m *meter) kad() []kaddht.Option {
	return []kaddht.Option{kaddht.OnRequestHook(func(_ context.Context, _ network.Stream, req *kadpb.Message) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.requests[req.GetType().String()]++
	})}
}

// recordKinds are names of the second byte of a record (docs/protocol-dht.md).
var recordKinds = map[byte]string{3: "heads", 4: "offers", 5: "answers", 6: "asks"}

func (m *meter) add(rpc *pubsub.RPC) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range rpc.GetPublish() {
		name := "other"
		if len(p.Data) > 1 && recordKinds[p.Data[1]] != "" {
			name = recordKinds[p.Data[1]]
		}
		m.bytes[name] += proto.Size(p)
	}
	for _, s := range rpc.GetSubscriptions() {
		m.bytes["subscriptions"] += proto.Size(s)
	}
	c := rpc.GetControl()
	for _, x := range c.GetIhave() {
		m.bytes["ihave"] += proto.Size(x)
	}
	for _, x := range c.GetIwant() {
		m.bytes["iwant"] += proto.Size(x)
	}
	for _, x := range c.GetIdontwant() {
		m.bytes["idontwant"] += proto.Size(x)
	}
	for _, x := range c.GetGraft() {
		m.bytes["graft"] += proto.Size(x)
	}
	for _, x := range c.GetPrune() {
		m.bytes["prune"] += proto.Size(x)
	}
}

// rpcMeter is the meter as gossipsub's tracer.
type rpcMeter struct {
	noTrace
	m *meter
}

func (t rpcMeter) RecvRPC(rpc *pubsub.RPC)            { t.m.add(rpc) }
func (t rpcMeter) SendRPC(rpc *pubsub.RPC, _ peer.ID) { t.m.add(rpc) }

// noTrace is a tracer that nothing interests.
type noTrace struct{}

func (noTrace) OnNewOutboundStream(peer.ID, protocol.ID) {}
func (noTrace) OnClosedOutboundStream(peer.ID)           {}
func (noTrace) Join(string)                              {}
func (noTrace) Leave(string)                             {}
func (noTrace) Graft(peer.ID, string)                    {}
func (noTrace) Prune(peer.ID, string)                    {}
func (noTrace) ValidateMessage(*pubsub.Message)          {}
func (noTrace) DeliverMessage(*pubsub.Message)           {}
func (noTrace) RejectMessage(*pubsub.Message, string)    {}
func (noTrace) DuplicateMessage(*pubsub.Message)         {}
func (noTrace) ThrottlePeer(peer.ID)                     {}
func (noTrace) RecvRPC(*pubsub.RPC)                      {}
func (noTrace) SendRPC(*pubsub.RPC, peer.ID)             {}
func (noTrace) DropRPC(*pubsub.RPC, peer.ID)             {}
func (noTrace) UndeliverableMessage(*pubsub.Message)     {}
