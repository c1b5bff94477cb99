package dht

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// bootstrap is one configured bootstrap node.
type bootstrap struct {
	peer.AddrInfo
	kick chan struct{} // it was disconnected

	mu  sync.Mutex
	err error // of the last try
}

// Bootstrapped waits until a bootstrap node is connected (at once when none is
// configured); the error says which were tried.
func (h *Host) Bootstrapped(ctx context.Context) error {
	select {
	case <-h.ready:
		return nil
	default:
	}
	select {
	case <-h.ready:
		return nil
	case <-h.ctx.Done():
		return errors.New("the host is closed")
	case <-ctx.Done():
	}
	var tried []string
	for _, b := range h.bootstraps() {
		b.mu.Lock()
		if len(b.Addrs) == 0 {
			tried = append(tried, fmt.Sprintf("%s (no address)", b.ID))
		}
		for _, a := range b.Addrs {
			tried = append(tried, fmt.Sprintf("%s/p2p/%s (%s)", a, b.ID, brief(b.err.Error())))
		}
		b.mu.Unlock()
	}
	return fmt.Errorf("no bootstrap node answered: %s (hint: is it running, and is its port open? --bootstrap names another)", strings.Join(tried, ", "))
}

func (h *Host) bootConnected() bool {
	for _, b := range h.bootstraps() {
		if h.host.Network().Connectedness(b.ID) == network.Connected {
			return true
		}
	}
	return false
}

// bootDial is how long a bootstrap node that does not answer is waited for at first, so
// that one that is being restarted is soon asked again, and bootDialMost later. Between two
// tries bootPause goes by at most, or bootHaste for who hangs on nobody and is in a closed
// room, whose secret may be another by now.
const (
	bootDial     = 3 * time.Second
	bootDialMost = 10 * time.Second
	bootPause    = 30 * time.Second
	bootHaste    = 3 * time.Second
)

// hasty says that a bootstrap node is needed soon.
func (h *Host) hasty() bool {
	if h.bootConnected() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.present {
		if p.room().Admission != Open {
			return true
		}
	}
	return false
}

// keep holds the connection to a bootstrap node until Close.
func (h *Host) keep(b *bootstrap) {
	h.host.ConnManager().Protect(b.ID, "bootstrap")
	wait := backoff{first: 250 * time.Millisecond}
	lost := false
	for {
		wait.most = bootPause
		if h.hasty() {
			wait.most = bootHaste
		}
		moved := h.afterMove()
		h.forgetFailures(b.ID) // libp2p would not dial again for seconds
		ctx, cancel := context.WithTimeout(h.ctx, min(bootDial+min(wait.cur, wait.most), bootDialMost))
		err := h.reach(ctx, b.AddrInfo)
		cancel()
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
		if err == nil {
			wait.reset()
			h.arrived()
			if lost {
				h.tellReturned()
			}
			lost = true
			select {
			case <-b.kick:
			case <-h.ctx.Done():
				return
			}
		} else if h.ctx.Err() == nil {
			h.log.Debug("bootstrap node not reached", "peer", b.ID, "err", err)
		}
		if !wake(h.ctx, wait.next(), moved) {
			return
		}
		select {
		case <-moved:
			wait.reset()
		default:
		}
	}
}

// arrived notes that a way into the DHT was found.
func (h *Host) arrived() {
	// A server that has only just started may tell us of its DHT a moment later.
	h.awaitTable(h.ctx, 2*time.Second)
	h.once.ready.Do(func() { close(h.ready) })
	h.once.walk.Do(func() { h.wg.Go(h.walk) })
}
