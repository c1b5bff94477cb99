package main

import (
	"net"
	"net/netip"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"go.uber.org/fx"
)

// sameAddress is how many peers share an IP address with -slots: a volunteer gives one address
// no more slots of its circuit relay than that.
const sameAddress = 16

// homeOf is the loopback address of peer number i.
func homeOf(i int) netip.Addr {
	n := i / sameAddress
	return netip.AddrFrom4([4]byte{127, 1, byte(n >> 8), byte(n)})
}

// atHome are the options of a peer that speaks from one address of its own; its host is put into h.
func atHome(from netip.Addr, h *host.Host) []libp2p.Option {
	return []libp2p.Option{
		libp2p.WithFxOption(fx.Populate(h)),
		libp2p.QUICReuse(quicreuse.NewConnManager, quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) {
			return source(from.AsSlice()), nil
		})),
	}
}

// source is where everything leaves from.
type source net.IP

func (s source) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) { return net.IP(s), nil }
