package dht

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"
)

// uplinkProto measures how fast a node can send: it sends at most uplinkBytes to a
// volunteer, which answers with their number (8 bytes, big endian).
const uplinkProto = protocol.ID("/" + namespace + "/uplink/1.0.0")

const (
	uplinkBytes = 2 << 20
	uplinkTime  = 2 * time.Second // of sending
	uplinkEvery = 5 * time.Second // a volunteer takes one in this time, on average: 3.4 Mbit/s
	uplinkBurst = 4
)

// ErrBusy is that the volunteer has no time for a measurement now.
var ErrBusy = errors.New("the bootstrap node takes no measurement now")

// serveUplink lets others measure their uplink. Nobody else does it: bulk tests against
// those who did not offer them are rude.
func (h *Host) serveUplink() {
	limit := rate.NewLimiter(rate.Every(uplinkEvery), uplinkBurst)
	h.host.SetStreamHandler(uplinkProto, func(s network.Stream) {
		if !limit.Allow() {
			_ = s.Reset()
			return
		}
		_ = s.SetDeadline(time.Now().Add(2*uplinkTime + 5*time.Second))
		n, err := io.Copy(io.Discard, io.LimitReader(s, uplinkBytes+1))
		if err != nil || n > uplinkBytes {
			_ = s.Reset()
			return
		}
		_, _ = s.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
		_ = s.Close()
	})
}

// MeasureUplink sends to a connected bootstrap node for two seconds, or 2 MiB, and
// returns the rate in bits a second at which that came there.
func (h *Host) MeasureUplink(ctx context.Context) (float64, error) {
	err := ErrNotReached
	for _, b := range h.bootstraps() {
		if h.host.Network().Connectedness(b.ID) != network.Connected {
			continue
		}
		s, err2 := h.host.NewStream(ctx, b.ID, uplinkProto)
		if err2 != nil {
			err = fmt.Errorf("measure the uplink: %w", oneLine(err2))
			continue
		}
		bps, err2 := sendFast(ctx, s)
		if err2 == nil {
			return bps, nil
		}
		_ = s.Reset()
		err = fmt.Errorf("%w: %w", ErrBusy, err2)
	}
	return 0, err
}

func sendFast(ctx context.Context, s network.Stream) (float64, error) {
	end := time.Now().Add(2*uplinkTime + 2*time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	if err := s.SetDeadline(end); err != nil {
		return 0, err
	}
	chunk := make([]byte, 16<<10)
	start := time.Now()
	for sent := 0; sent < uplinkBytes && time.Since(start) < uplinkTime; sent += len(chunk) {
		if _, err := s.Write(chunk); err != nil {
			return 0, err
		}
	}
	if err := s.CloseWrite(); err != nil {
		return 0, err
	}
	var answer [8]byte
	if _, err := io.ReadFull(s, answer[:]); err != nil {
		return 0, err
	}
	return float64(binary.BigEndian.Uint64(answer[:])) * 8 / time.Since(start).Seconds(), nil
}
