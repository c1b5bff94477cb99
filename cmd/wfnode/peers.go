package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node/home"
)

// rememberFirst and rememberEvery are when the peers that can be reached are written
// down: a node that is killed has done so before.
const (
	rememberFirst = 20 * time.Second
	rememberEvery = 5 * time.Minute
)

// remembered are the peers of earlier runs on h. What can't be read is as good as forgotten.
func remembered(h *home.Home, log *slog.Logger) []peer.AddrInfo {
	lines, err := h.Peers()
	if err != nil {
		log.Warn("peers of earlier runs are not known", "err", err)
		return nil
	}
	var addrs []ma.Multiaddr
	for _, l := range lines {
		if a, err := ma.NewMultiaddr(l); err == nil {
			if _, err := peer.AddrInfoFromP2pAddr(a); err == nil {
				addrs = append(addrs, a)
			}
		}
	}
	list, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil
	}
	return list
}

// remember writes down from time to time, and when ctx ends, who can be reached.
func remember(ctx context.Context, h *home.Home, host *dht.Host, log *slog.Logger) {
	timer := time.NewTimer(rememberFirst)
	defer timer.Stop()
	for over := false; !over; {
		select {
		case <-timer.C:
			timer.Reset(rememberEvery)
		case <-ctx.Done():
			over = true
		}
		var lines []string
		for _, ai := range host.GoodPeers() {
			addrs, err := peer.AddrInfoToP2pAddrs(&ai)
			if err != nil {
				continue
			}
			for _, a := range addrs {
				lines = append(lines, a.String())
			}
		}
		if len(lines) == 0 {
			continue // offline: what was good before may be good again
		}
		if err := h.SavePeers(lines); err != nil {
			log.Warn("peers are not remembered", "err", err)
		}
	}
}
