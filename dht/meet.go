package dht

import (
	"context"
	"errors"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
)

// maxBootstrap is how many bootstrap nodes a host keeps connections with: those of the
// tickets of as many rooms as a person is in at once.
const maxBootstrap = 64

// bootstraps are the nodes whose connection is kept, as of now.
func (h *Host) bootstraps() []*bootstrap {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.boot)
}

// addBootstrap keeps the connection with a node from now on, unless it is kept already.
func (h *Host) addBootstrap(ai peer.AddrInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := slices.ContainsFunc(h.boot, func(b *bootstrap) bool { return b.ID == ai.ID })
	if known || ai.ID == h.host.ID() || len(h.boot) >= maxBootstrap || h.ctx.Err() != nil {
		return
	}
	b := &bootstrap{AddrInfo: ai, kick: make(chan struct{}, 1), err: errors.New("no answer yet")}
	h.boot = append(h.boot, b)
	h.wg.Go(func() { h.keep(b) })
}

// Meet takes bootstrap nodes that a ticket names to those that are kept connections with,
// and waits until one of them is reached. The error is of the last that was not.
func (h *Host) Meet(ctx context.Context, list []peer.AddrInfo) error {
	reached := make(chan error, len(list))
	tries := 0
	for _, ai := range list {
		if ai.ID == h.host.ID() {
			return nil
		}
		tries++
		go func() { reached <- h.reach(ctx, ai) }()
	}
	var err error
	for ; tries > 0; tries-- {
		if err = <-reached; err == nil {
			break
		}
	}
	for _, ai := range list {
		h.addBootstrap(ai)
	}
	return err
}
