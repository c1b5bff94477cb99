package vnet

import (
	"maps"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"
)

// LibP2PPort is the UDP port on which a host's libp2p listens.
const LibP2PPort = 4001

// Multiaddr is where a host's libp2p listens, without /p2p.
func (h *Host) Multiaddr() ma.Multiaddr {
	udp, err := manet.FromNetAddr(&net.UDPAddr{IP: h.ip.AsSlice(), Port: LibP2PPort})
	if err != nil {
		panic(err) // an IP and a port always make one
	}
	return udp.Encapsulate(ma.StringCast("/quic-v1"))
}

// Libp2pOptions makes a libp2p host live on this network: QUIC only, listening at
// Multiaddr, reachability as the NAT has it. What was said before about transports,
// listen addresses, resources, bandwidth reporting and port mapping is replaced;
// identity, connection manager and all else stay.
func (h *Host) Libp2pOptions() []libp2p.Option {
	reachability := libp2p.ForceReachabilityPublic()
	if h.cfg.NAT != Open {
		reachability = libp2p.ForceReachabilityPrivate()
	}
	return []libp2p.Option{
		func(cfg *libp2p.Config) error {
			cfg.ListenAddrs = nil
			cfg.Transports = nil
			cfg.QUICReuse = nil
			cfg.ResourceManager = nil
			cfg.NATManager = nil // UPnP asks the real network
			cfg.EnableAutoNATv2 = false
			cfg.Reporter = &h.counter
			return nil
		},
		libp2p.ListenAddrs(h.Multiaddr()),
		libp2p.Transport(libp2pquic.NewTransport),
		h.quicReuse(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(), // stalls in a bubble
		reachability,
	}
}

// quicReuse gives libp2p's QUIC our sockets. go-libp2p does not close a connection
// manager that it did not make, hence the stop hook.
func (h *Host) quicReuse() libp2p.Option {
	newManager := func(l fx.Lifecycle, reset quic.StatelessResetKey, token quic.TokenGeneratorKey, opts ...quicreuse.Option) (*quicreuse.ConnManager, error) {
		m, err := quicreuse.NewConnManager(reset, token, opts...)
		if err != nil {
			return nil, err
		}
		l.Append(fx.StopHook(m.Close))
		return m, nil
	}
	return libp2p.QUICReuse(newManager,
		quicreuse.OverrideListenUDP(func(_ string, addr *net.UDPAddr) (net.PacketConn, error) {
			c, err := h.bind(addr)
			if err != nil {
				return nil, err
			}
			return c, nil
		}),
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return sourceIP(h.ip.AsSlice()), nil }),
	)
}

// sourceIP answers that all traffic leaves from one address.
type sourceIP net.IP

func (s sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IP(s), nil
}

// Protocols tells what each protocol of libp2p has sent and heard in its streams: what
// QUIC adds, and its own packets, are only in Traffic(LibP2PPort).
func (h *Host) Protocols() map[protocol.ID]Traffic {
	h.counter.mu.Lock()
	defer h.counter.mu.Unlock()
	return maps.Clone(h.counter.by)
}

// counter takes the place of libp2p's own, which shares one goroutine in the whole
// process that never ends, so no bubble may start it.
type counter struct {
	mu sync.Mutex
	by map[protocol.ID]Traffic
}

func (c *counter) add(p protocol.ID, t Traffic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := c.by[p]
	sum.add(t)
	c.by[p] = sum
}

func (c *counter) LogSentMessageStream(n int64, p protocol.ID, _ peer.ID) {
	c.add(p, Traffic{Out: uint64(n), PacketsOut: 1})
}

func (c *counter) LogRecvMessageStream(n int64, p protocol.ID, _ peer.ID) {
	c.add(p, Traffic{In: uint64(n), PacketsIn: 1})
}

// The rest of metrics.Reporter, of which nobody asks us anything.

func (c *counter) LogSentMessage(int64)                                  {}
func (c *counter) LogRecvMessage(int64)                                  {}
func (c *counter) GetBandwidthForPeer(peer.ID) (s metrics.Stats)         { return }
func (c *counter) GetBandwidthForProtocol(protocol.ID) (s metrics.Stats) { return }
func (c *counter) GetBandwidthTotals() (s metrics.Stats)                 { return }
func (c *counter) GetBandwidthByPeer() map[peer.ID]metrics.Stats         { return nil }
func (c *counter) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats { return nil }
func (c *counter) Reset()                                                {}
func (c *counter) TrimIdle(time.Time)                                    {}
