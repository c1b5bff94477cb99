package dht

import (
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/fx"
)

// defaultListen is any free port by each transport that others may have to come by. A
// WebSocket says nothing to them that TCP does not: who needs that names it.
var defaultListen = [...]string{
	"/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0",
}

// spoken are the transports of this host in the order in which they are liked: QUIC
// costs the least, TCP is for networks that drop UDP, a WebSocket for those that let only
// HTTP through.
var spoken = [...]struct {
	name string
	ends []int // the multiaddr's last protocols
}{
	{"QUIC", []int{ma.P_QUIC_V1}},
	{"TCP", []int{ma.P_TCP}},
	{"WebSocket", []int{ma.P_WS, ma.P_WSS}},
}

// transportOf is the place of an address's transport in spoken, len(spoken) if it is none.
func transportOf(a ma.Multiaddr) int {
	if len(a) == 0 {
		return len(spoken)
	}
	for i, t := range spoken {
		if slices.Contains(t.ends, a[len(a)-1].Protocol().Code) {
			return i
		}
	}
	return len(spoken)
}

// checkListen refuses addresses on which this host could not listen.
func checkListen(addrs []ma.Multiaddr) error {
	for _, a := range addrs {
		if transportOf(a) == len(spoken) {
			return fmt.Errorf("can't listen on %s (hint: /ip4/0.0.0.0/udp/4001/quic-v1, /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/tcp/4001/ws)", a)
		}
	}
	return nil
}

// options are our own libp2p settings, for what the caller's options left open.
func (h *Host) options(c *libp2p.Config) error {
	opts := []libp2p.Option{
		h.circuitOptions(),
		h.routerOption(),
		libp2p.ConnectionGater(&h.anew),
		libp2p.DisableMetrics(),
		libp2p.UserAgent("waterfall"),
		libp2p.WithFxOption(fx.NopLogger), // it would print on standard error what New returns
		// The detector would stop dialling by UDP after a minute without network, for long.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		resourceOptions(h.cfg.Volunteer),
	}
	if c.Reporter == nil {
		opts = append(opts, libp2p.BandwidthReporter(&h.bytes))
	}
	if c.PeerKey == nil {
		opts = append(opts, libp2p.Identity(h.cfg.Key))
	}
	if len(c.Transports) == 0 {
		h.byTCP = true
		opts = append(opts, libp2p.Transport(quic.NewTransport), libp2p.Transport(tcp.NewTCPTransport),
			libp2p.Transport(websocket.New), libp2p.ShareTCPListener())
	}
	switch {
	case len(h.cfg.Listen) > 0:
		opts = append(opts, libp2p.ListenAddrs(h.cfg.Listen...))
	case len(c.ListenAddrs) == 0:
		opts = append(opts, libp2p.ListenAddrStrings(defaultListen[:]...))
	}
	if h.cfg.Volunteer {
		opts = append(opts, libp2p.EnableNATService())
	}
	return c.Apply(opts...)
}

// sidedoors adds to the addresses of a node the TCP port beside each QUIC one: a
// ticket has few addresses, and volunteers listen on both unless told otherwise. Who
// answers there must prove to be the peer, as everywhere.
func sidedoors(ai peer.AddrInfo) peer.AddrInfo {
	addrs := slices.Clone(ai.Addrs)
	for _, a := range ai.Addrs {
		if transportOf(a) != 0 || len(a) != 3 { // host, udp, quic-v1
			continue
		}
		t, err := ma.NewComponent("tcp", a[1].Value())
		if err != nil {
			continue
		}
		if door := (ma.Multiaddr{a[0], *t}); !slices.ContainsFunc(addrs, door.Equal) {
			addrs = append(addrs, door)
		}
	}
	return peer.AddrInfo{ID: ai.ID, Addrs: addrs}
}

// byLiking sorts addresses by transport, the best liked first.
func byLiking(addrs []ma.Multiaddr) []ma.Multiaddr {
	slices.SortStableFunc(addrs, func(a, b ma.Multiaddr) int { return transportOf(a) - transportOf(b) })
	return addrs
}
