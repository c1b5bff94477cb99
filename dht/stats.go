package dht

import (
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Stats for the status document.
type Stats struct {
	Mode      string // "server" or "client"
	Table     int    // DHT routing table
	Connected int
	BytesIn   uint64 // by libp2p streams: DHT, gossip, identify
	BytesOut  uint64
	Dropped   uint64 // records that came too fast, or that nobody took in time
}

// Stats counts.
func (h *Host) Stats() Stats {
	s := Stats{
		Mode: "client", Table: h.kad.RoutingTable().Size(), Connected: len(h.host.Network().Peers()),
		BytesIn: h.bytes.in.Load(), BytesOut: h.bytes.out.Load(), Dropped: h.dropped.Load(),
	}
	if h.serves() {
		s.Mode = "server"
	}
	return s
}

// traffic counts the bytes of all libp2p streams. libp2p's own counter keeps meters for
// each peer and protocol, and a goroutine that never ends.
type traffic struct{ in, out atomic.Uint64 }

func (t *traffic) LogSentMessageStream(n int64, _ protocol.ID, _ peer.ID) { t.out.Add(uint64(n)) }
func (t *traffic) LogRecvMessageStream(n int64, _ protocol.ID, _ peer.ID) { t.in.Add(uint64(n)) }

// The rest of metrics.Reporter, of which nobody asks us anything.

func (t *traffic) LogSentMessage(int64)                                  {}
func (t *traffic) LogRecvMessage(int64)                                  {}
func (t *traffic) GetBandwidthForPeer(peer.ID) (s metrics.Stats)         { return s }
func (t *traffic) GetBandwidthForProtocol(protocol.ID) (s metrics.Stats) { return s }
func (t *traffic) GetBandwidthTotals() (s metrics.Stats)                 { return s }
func (t *traffic) GetBandwidthByPeer() map[peer.ID]metrics.Stats         { return nil }
func (t *traffic) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats { return nil }
func (t *traffic) Reset()                                                {}
func (t *traffic) TrimIdle(time.Time)                                    {}
