package dht

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/time/rate"
)

// What a volunteer's circuit relay v2 gives away: circuits are for signalling, and all of
// them together are at most circuitRate x 2 x circuitBytes, 4.2 Mbit/s.
const (
	slotsTotal     = 1024 // nodes that hold a slot, so that others reach them here
	slotsAddress   = 16   // of one IP address
	slotsASN       = 256  // of one autonomous system (IPv6)
	slotLife       = time.Hour
	circuitsOfPeer = 16 // open, to or from it
	circuitTime    = 2 * time.Minute
	circuitBytes   = 64 << 10 // each way

	circuitRate, circuitBurst = 4, 64 // new circuits a second, of all
	callerRate, callerBurst   = 1, 8  // of one IP address
)

// Slots of a node that can't be reached from outside.
const (
	slotsWanted = 2               // at as many bootstrap nodes
	slotLook    = time.Minute     // between looks whether a slot is missing
	slotRefused = 5 * time.Minute // until a bootstrap node that had none is asked again
)

// circuitGate holds back new circuits.
type circuitGate struct {
	all     *rate.Limiter
	callers *limiters[string] // by IP address
}

// AllowReserve implements the relay's ACLFilter: the relay's own limits do.
func (g circuitGate) AllowReserve(peer.ID, ma.Multiaddr) bool { return true }

// AllowConnect implements the relay's ACLFilter.
func (g circuitGate) AllowConnect(_ peer.ID, from ma.Multiaddr, _ peer.ID) bool {
	ip, err := manet.ToIP(from)
	return err == nil && g.callers.allow(ip.String()) && g.all.Allow()
}

// serveCircuits relays connections for others until Close.
func (h *Host) serveCircuits() error {
	gate := circuitGate{rate.NewLimiter(circuitRate, circuitBurst), newLimiters[string](callerRate, callerBurst)}
	r, err := circuit.New(h.host, circuit.WithACL(gate), circuit.WithResources(circuit.Resources{
		Limit:                 &circuit.RelayLimit{Duration: circuitTime, Data: circuitBytes},
		ReservationTTL:        slotLife,
		MaxReservations:       slotsTotal,
		MaxReservationsPerIP:  slotsAddress,
		MaxReservationsPerASN: slotsASN,
		MaxCircuits:           circuitsOfPeer,
		BufferSize:            2 << 10,
	}))
	h.circuits = r
	return err
}

// circuitOptions let a node take slots at its bootstrap nodes once it knows that it can't be
// reached from outside, and reach others that did so.
func (h *Host) circuitOptions() libp2p.Option {
	if h.cfg.Volunteer {
		return libp2p.DisableRelay()
	}
	return libp2p.ChainOptions(libp2p.EnableRelay(), libp2p.EnableAutoRelayWithPeerSource(h.slotSource,
		autorelay.WithNumRelays(slotsWanted), autorelay.WithMinCandidates(1), autorelay.WithMaxCandidates(slotsWanted),
		autorelay.WithBootDelay(0), autorelay.WithBackoff(slotRefused), autorelay.WithMinInterval(slotLook)))
}

// slotSource gives the bootstrap nodes that are connected.
func (h *Host) slotSource(_ context.Context, most int) <-chan peer.AddrInfo {
	list := make(chan peer.AddrInfo, most)
	defer close(list)
	for _, b := range h.bootstraps() {
		if len(list) < most && h.host.Network().Connectedness(b.ID) == network.Connected {
			list <- b.AddrInfo
		}
	}
	return list
}
