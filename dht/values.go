package dht

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	recordlib "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/routing"
)

const (
	getTimeout = 5 * time.Second
	putTimeout = 10 * time.Second
	putTry     = 7 * time.Second // of that, for a lookup and all that it finds
	nearMost   = 16
)

// get returns the first valid value under key: a record certifies itself, so there is
// nothing to vote on. A light lookup can miss once, so it is done twice. answered says
// whether anybody was there to ask.
func (h *Host) get(ctx context.Context, key string) (value []byte, answered bool) {
	for range 2 {
		v, a := h.getOnce(ctx, key)
		answered = answered || a
		if v != nil || ctx.Err() != nil {
			return v, answered
		}
	}
	return nil, answered
}

func (h *Host) getOnce(ctx context.Context, key string) (value []byte, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	ctx, events := routing.RegisterForQueryEvents(ctx)
	var heard atomic.Bool
	done := make(chan struct{})
	go func() { // ends when cancel closes events
		defer close(done)
		for e := range events {
			if e.Type == routing.PeerResponse {
				heard.Store(true)
			}
		}
	}()
	h.refill()
	if values, err := h.kad.SearchValue(ctx, key); err == nil {
		value = <-values
	}
	cancel()
	<-done
	return value, heard.Load()
}

// put stores value with the DHT servers closest to key.
func (h *Host) put(ctx context.Context, key string, value []byte) error {
	return h.store(ctx, func(ctx context.Context) error {
		try, cancel := context.WithTimeout(ctx, putTry)
		defer cancel()
		err := h.kad.PutValue(try, key, value)
		if err != nil && h.putNear(ctx, key, value) > 0 {
			return nil
		}
		return err
	})
}

// putNear has the servers that this host is connected to store value, and counts those
// that do: a lookup comes to no end when somebody tells it of ever more servers that do not
// exist, and readers ask their neighbours first.
func (h *Host) putNear(ctx context.Context, key string, value []byte) (stored int) {
	m := dhtpb.NewMessage(dhtpb.Message_PUT_VALUE, []byte(key), 0)
	m.Record = recordlib.MakePutRecord(key, value)
	ask := newSender(h.host, []protocol.ID{kadProto})
	done := make(chan error, nearMost)
	asked := 0
	for _, p := range h.kad.RoutingTable().ListPeers() {
		if asked < nearMost && h.host.Network().Connectedness(p) == network.Connected {
			asked++
			go func() {
				_, err := ask.SendRequest(ctx, p, m)
				done <- err
			}()
		}
	}
	for range asked {
		if <-done == nil {
			stored++
		}
	}
	return stored
}

// provide lists this host under c.
func (h *Host) provide(ctx context.Context, c cid.Cid) error {
	return h.store(ctx, func(ctx context.Context) error { return h.kad.Provide(ctx, c, true) })
}

// store does op, which stores something here and with others.
func (h *Host) store(ctx context.Context, op func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	for range 2 {
		h.refill()
		err := op(ctx)
		if h.kad.RoutingTable().Size() == 0 {
			continue // nobody was there, or the only one failed
		}
		if err != nil {
			return fmt.Errorf("storing in the DHT: %w", err)
		}
		return nil
	}
	return h.alone()
}

// refill puts servers that we are connected to back into the routing table: kad-dht
// drops a peer at its first failed request, and with one bootstrap node that is all.
func (h *Host) refill() {
	table := h.kad.RoutingTable()
	for _, b := range h.bootstraps() {
		if table.Find(b.ID) == "" && h.host.Network().Connectedness(b.ID) == network.Connected {
			h.tabulate(b.ID)
		}
	}
	if table.Size() == 0 {
		for _, p := range h.host.Network().Peers() {
			h.tabulate(p)
		}
	}
}

// tabulate puts p into the routing table if it is a DHT server.
func (h *Host) tabulate(p peer.ID) {
	if s, err := h.host.Peerstore().SupportsProtocols(p, kadProto); err == nil && len(s) > 0 {
		_, _ = h.kad.RoutingTable().TryAddPeer(p, true, false)
	}
}

// alone is what it means that nobody else is in the DHT: all is well for a host without
// bootstrap nodes, which is itself the server that others ask.
func (h *Host) alone() error {
	if len(h.bootstraps()) == 0 {
		return nil
	}
	return ErrNotReached
}

// providers finds at most n hosts listed under c, without ourselves.
func (h *Host) providers(ctx context.Context, c cid.Cid, n int) []peer.AddrInfo {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	var found []peer.AddrInfo
	h.refill()
	for ai := range h.kad.FindProvidersAsync(ctx, c, n+1) {
		if ai.ID != h.host.ID() && len(found) < n {
			found = append(found, ai)
		}
	}
	return found
}

// pool bounds the DHT work that goes on beside the callers.
type pool struct {
	running chan struct{}
	waiting *atomic.Int32
}

const (
	poolSize  = 16
	poolQueue = 256
)

var errBusy = errors.New("too much DHT work is waiting")

func newPool() pool { return pool{make(chan struct{}, poolSize), new(atomic.Int32)} }

// do runs f when there is room; errBusy if too many wait already.
func (p pool) do(ctx context.Context, f func()) error {
	if p.waiting.Add(1) > poolQueue {
		p.waiting.Add(-1)
		return errBusy
	}
	select {
	case p.running <- struct{}{}:
		p.waiting.Add(-1)
	case <-ctx.Done():
		p.waiting.Add(-1)
		return ctx.Err()
	}
	defer func() { <-p.running }()
	f()
	return nil
}
