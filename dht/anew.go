package dht

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
)

const (
	anewAge   = 3 * time.Second        // of a connection beside which a new one is not just the other side's dial
	anewProbe = 400 * time.Millisecond // for it to show that it lives
)

// anewGate lets a peer in that is connected already only when it is known whether it was
// started anew: then the connections of its earlier life are dropped first. QUIC finds that out
// after 30 s; until then gossipsub would hold to the stream that it has, and tell the peer of
// no topic, so that a speaker would be heard by nobody. It is a connmgr.ConnectionGater.
type anewGate struct {
	net atomic.Pointer[network.Network] // nil until the host has started
}

func (g *anewGate) begin(n network.Network) { g.net.Store(&n) }

// InterceptUpgraded comes when both sides have proved who they are, on the connection's own
// goroutine.
func (g *anewGate) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	n := g.net.Load()
	if n == nil || c.Stat().Direction != network.DirInbound {
		return true, 0
	}
	var probes sync.WaitGroup
	for _, old := range (*n).ConnsToPeer(c.RemotePeer()) {
		if time.Since(old.Stat().Opened) > anewAge {
			probes.Go(func() { dropDead(old) })
		}
	}
	probes.Wait()
	return true, 0
}

// dropDead closes a connection on which nobody answers.
func dropDead(c network.Conn) {
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(context.Background(), "probe"), anewProbe)
	defer cancel()
	s, err := c.NewStream(ctx)
	if err == nil {
		defer s.Reset() //nolint:errcheck // it has done its work
		_ = s.SetDeadline(time.Now().Add(anewProbe))
		err = multistream.SelectProtoOrFail(ping.ID, io.ReadWriteCloser(s))
	}
	if err != nil {
		_ = c.Close()
	}
}

// The rest of connmgr.ConnectionGater: nobody is kept out.

func (g *anewGate) InterceptPeerDial(peer.ID) bool               { return true }
func (g *anewGate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }
func (g *anewGate) InterceptAccept(network.ConnMultiaddrs) bool  { return true }
func (g *anewGate) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}
