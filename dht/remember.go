package dht

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// rescueAfter is how long the bootstrap nodes alone are waited for; rescueEvery is how
	// often it is looked again whether this host hangs on anybody.
	rescueAfter = time.Second
	rescueEvery = 15 * time.Second

	maxRemembered = 16 // peers
	maxPeerAddrs  = 4  // of each
)

// rescue turns to the remembered peers whenever no bootstrap node is connected, so that
// a room survives its bootstrap nodes. It ends with Close.
func (h *Host) rescue() {
	wait, moved := rescueAfter, h.afterMove()
	for wake(h.ctx, wait, moved) {
		moved = h.afterMove()
		wait = jitter(rescueEvery)
		if h.bootConnected() || slices.ContainsFunc(h.cfg.Remembered, h.connectedTo) {
			continue
		}
		for _, ai := range h.cfg.Remembered[:min(len(h.cfg.Remembered), maxRemembered)] {
			if ai.ID != h.host.ID() {
				h.wg.Go(func() { h.callUp(ai) })
			}
		}
	}
}

func (h *Host) callUp(ai peer.AddrInfo) {
	ctx, cancel := context.WithTimeout(h.ctx, 10*time.Second)
	defer cancel()
	if err := h.reach(ctx, ai); err != nil {
		h.log.Debug("remembered peer not reached", "peer", ai.ID, "err", err)
		return
	}
	h.host.ConnManager().Protect(ai.ID, "remembered")
	h.arrived()
}

func (h *Host) connectedTo(ai peer.AddrInfo) bool {
	return h.host.Network().Connectedness(ai.ID) == network.Connected
}

// GoodPeers are the connected DHT servers, with addresses at which they were reached: who
// remembers them can find into the DHT without its bootstrap nodes.
func (h *Host) GoodPeers() []peer.AddrInfo {
	var list []peer.AddrInfo
	for _, id := range h.host.Network().Peers() {
		if p, err := h.host.Peerstore().SupportsProtocols(id, kadProto); err != nil || len(p) == 0 || len(list) == maxRemembered {
			continue
		}
		ai := peer.AddrInfo{ID: id}
		for _, c := range h.host.Network().ConnsToPeer(id) {
			if c.Stat().Direction == network.DirOutbound && !slices.ContainsFunc(ai.Addrs, c.RemoteMultiaddr().Equal) {
				ai.Addrs = append(ai.Addrs, c.RemoteMultiaddr())
			}
		}
		if len(ai.Addrs) == 0 { // it came to us: what it says of itself
			ai.Addrs = h.host.Peerstore().Addrs(id)
		}
		ai.Addrs = ai.Addrs[:min(len(ai.Addrs), maxPeerAddrs)]
		if len(ai.Addrs) > 0 {
			list = append(list, ai)
		}
	}
	return list
}
