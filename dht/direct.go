package dht

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// signalProto carries one offer or answer straight to a node that this one is connected
// to: the place that the record is signed for (16 B), and the record. Nothing is
// answered. What comes so is checked and limited as what comes by gossip.
const signalProto = protocol.ID("/" + namespace + "/signal/1")

const (
	directTime = 5 * time.Second // to bring a record
	directMost = 64              // records that are being brought at once, by all together
)

// serveDirect takes what others bring.
func (h *Host) serveDirect() {
	turns := make(chan struct{}, directMost)
	h.host.SetStreamHandler(signalProto, func(s network.Stream) {
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		default:
			h.dropped.Add(1)
			_ = s.Reset()
			return
		}
		_ = s.SetDeadline(time.Now().Add(directTime))
		b, err := io.ReadAll(io.LimitReader(s, int64(len(place{}))+maxMessage+1))
		if err != nil || !h.takeDirect(s.Conn().RemotePeer(), b) {
			_ = s.Reset()
			return
		}
		_ = s.Close()
	})
}

// takeDirect gives a record to the presence that it is for; false: it is not worth a stream.
func (h *Host) takeDirect(from peer.ID, b []byte) bool {
	var at place
	if len(b) < len(at) {
		return false
	}
	copy(at[:], b)
	r, verdict := h.admit(from, at, b[len(at):])
	if verdict != pubsub.ValidationAccept || r.kind != kindOffer && r.kind != kindAnswer {
		return false
	}
	h.mu.Lock()
	all := slices.Collect(maps.Keys(h.present))
	h.mu.Unlock()
	for _, p := range all {
		if p.signals(at) {
			p.take(r, Direct)
		}
	}
	return true
}

// signals says whether offers, or answers to us, are said at this place.
func (p *Presence) signals(at place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topics["offers"].at == at || p.topics[shard(p.h.self)].at == at
}

// tell brings a record to a node beside gossip, if we are connected to it: by one step
// where gossip may take two.
func (p *Presence) tell(to peer.ID, at place, rec []byte) {
	if p.h.cfg.Signal != Both {
		return
	}
	switch p.h.host.Network().Connectedness(to) {
	case network.Connected, network.Limited:
	default:
		return
	}
	p.background(func(ctx context.Context) {
		if err := p.h.bring(ctx, to, at, rec); err != nil && ctx.Err() == nil {
			p.h.log.Debug("not signalled directly", "to", to, "err", err)
		}
	})
}

func (h *Host) bring(ctx context.Context, to peer.ID, at place, rec []byte) error {
	ctx, cancel := context.WithTimeout(network.WithNoDial(network.WithAllowLimitedConn(ctx, "signalling"), "signalling"), directTime)
	defer cancel()
	s, err := h.host.NewStream(ctx, to, signalProto)
	if err != nil {
		return oneLine(err)
	}
	_ = s.SetDeadline(time.Now().Add(directTime))
	if _, err := s.Write(slices.Concat(at[:], rec)); err != nil {
		_ = s.Reset()
		return err
	}
	return s.Close()
}
