package dht

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

const (
	probeTime  = 1500 * time.Millisecond // for a peer to answer after a move
	probePeers = 256                     // a node with more is a server, and is found again
)

// Moved is to be called when this machine's addresses have changed, or when it has slept.
// Bootstrap nodes that are not connected are tried at once; if addresses are lost, so that
// connections may be dead without knowing it (QUIC's find out after 30 s), each peer has
// to answer or is dropped.
func (h *Host) Moved(lost bool) {
	h.mu.Lock()
	close(h.moved)
	h.moved = make(chan struct{})
	clear(h.mdnsFound) // who is near here is to be seen again
	h.mu.Unlock()
	for _, b := range h.bootstraps() {
		h.forgetFailures(b.ID)
	}
	for _, ai := range h.cfg.Remembered {
		h.forgetFailures(ai.ID)
	}
	if peers := h.host.Network().Peers(); lost && len(peers) <= probePeers {
		for _, p := range peers {
			h.spawn(func() { h.probe(p) })
		}
	}
	if h.router != nil && lost {
		h.spawn(func() { h.router.moved(h.ctx) })
	}
	if h.cfg.MDNS && lost {
		h.spawn(h.startMDNS)
	}
}

// forgetFailures lets p be dialled at once, however the last dials ended.
func (h *Host) forgetFailures(p peer.ID) {
	if s, ok := h.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(p)
	}
}

// tellReturned wakes those who keep records in the DHT: a bootstrap node is back, and may
// have lost what it kept.
func (h *Host) tellReturned() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.returned)
	h.returned = make(chan struct{})
}

// afterReturn is closed when a bootstrap node is back the next time.
func (h *Host) afterReturn() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.returned
}

// spawn runs f as one of the host's goroutines unless the host is closed.
func (h *Host) spawn(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() == nil {
		h.wg.Go(f)
	}
}

// probe drops a peer that does not answer.
func (h *Host) probe(p peer.ID) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(h.ctx, "probe"), probeTime)
	defer cancel()
	if r := <-ping.Ping(ctx, h.host, p); r.Error != nil && h.ctx.Err() == nil {
		h.log.Debug("a peer does not answer after a move", "peer", p, "err", r.Error)
		_ = h.host.Network().ClosePeer(p)
	}
}

// afterMove is closed at the next move.
func (h *Host) afterMove() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.moved
}

// startMDNS begins to look for neighbours, on the interfaces that there are now.
func (h *Host) startMDNS() {
	h.mdnsMu.Lock()
	defer h.mdnsMu.Unlock()
	if h.mdns != nil {
		_ = h.mdns.Close() // nothing can be done about it
		h.mdns = nil
	}
	if h.ctx.Err() != nil {
		return
	}
	s := mdns.NewMdnsService(h.host, mdnsService, found{h})
	if err := s.Start(); err != nil {
		// A machine without multicast still has its bootstrap nodes.
		h.log.Warn("no discovery on the local network", "err", err)
		return
	}
	h.mdns = s
}

// Moved makes a node that looks for heads look again at once.
func (p *Presence) Moved() {
	p.back()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watch {
		p.heard.restart()
		notify(p.headsKick)
	}
}
