package linkbench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/watergy/waterfall/stream/link"
)

// maxTimes is how many packets a relay tells the times of.
const maxTimes = 10_000

// ChainConfig of a run through relays one behind the other.
type ChainConfig struct {
	Relays func() *exec.Cmd // makes a relay process, not started: it must call Relay
	Hops   int              // relays; 0 means 6
	Warm   time.Duration    // before the clock starts; 0 means 1 s
	For    time.Duration    // measured; 0 means 8 s, at most 30 s
}

// ChainResult says how long video packets took from process to process. All of them
// read one clock, so each hop is measured by itself.
type ChainResult struct {
	Hops     int     `json:"hops"`
	Packets  int     `json:"packets"`
	HopP50   float64 `json:"hop_ms_p50"` // from one process's read to the next one's
	HopP99   float64 `json:"hop_ms_p99"`
	TotalP50 float64 `json:"total_ms_p50"` // speaker to the last relay
	TotalP99 float64 `json:"total_ms_p99"`
	Lost     int     `json:"lost"` // packets that some relay does not have
}

// Chain measures once.
func Chain(ctx context.Context, cfg ChainConfig) (res ChainResult, err error) {
	if cfg.Hops <= 0 {
		cfg.Hops = 6
	}
	if cfg.Warm <= 0 {
		cfg.Warm = time.Second
	}
	if cfg.For <= 0 {
		cfg.For = 8 * time.Second
	}
	cfg.For = min(cfg.For, 30*time.Second)
	l, err := newLoad()
	if err != nil {
		return res, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var relays []*relayProcess
	defer func() {
		cancel()
		err = errors.Join(err, l.close())
		for _, r := range relays {
			err = errors.Join(err, r.stop())
		}
	}()
	for range cfg.Hops {
		r, err := startRelay(cfg.Relays())
		if err != nil {
			return res, err
		}
		relays = append(relays, r)
	}
	if err := l.chain(ctx, relays); err != nil {
		return res, err
	}
	l.wg.Go(func() { l.speak(ctx) })
	if err := wait(ctx, cfg.Warm); err != nil {
		return res, err
	}
	from := l.h.Marks()[videoTrack]
	if err := wait(ctx, cfg.For); err != nil {
		return res, err
	}
	to := l.h.Marks()[videoTrack]
	if err := wait(ctx, time.Second); err != nil { // for the last of them
		return res, err
	}
	return l.times(relays, from, min(int(to-from), maxTimes))
}

// chain links the load to the first relay and each relay to the next.
func (l *load) chain(ctx context.Context, relays []*relayProcess) error {
	for i, r := range relays {
		if i == 0 {
			if err := l.connect(ctx, r, "take", func(up *link.Link) { up.Serve(l.h) }, link.Up); err != nil {
				return err
			}
			continue
		}
		offer, err := r.ask(l.ask("offer", nil))
		if err != nil {
			return fmt.Errorf("relay %d: %w", i+1, err)
		}
		answer, err := relays[i-1].ask(l.ask("serve", offer.Link))
		if err != nil {
			return fmt.Errorf("relay %d: %w", i, err)
		}
		if _, err := r.ask(l.ask("accept", answer.Link)); err != nil {
			return fmt.Errorf("relay %d: %w", i+1, err)
		}
	}
	return nil
}

// times compares when packets were at each process.
func (l *load) times(relays []*relayProcess, from uint64, count int) (ChainResult, error) {
	res := ChainResult{Hops: len(relays)}
	first := make([]int64, count)
	for i := range first {
		if p, ok := l.h.Get(videoTrack, from+uint64(i)); ok {
			first[i] = p.At.UnixNano()
		}
	}
	at := [][]int64{first}
	for _, r := range relays {
		got, err := r.ask(request{Op: "times", From: from, Count: count})
		if err != nil {
			return res, err
		}
		if len(got.Times) != count {
			return res, errors.New("a relay knows other packets")
		}
		at = append(at, got.Times)
	}
	var hop, total []time.Duration
	for i := range count {
		whole := true
		for _, row := range at {
			whole = whole && row[i] != 0
		}
		if !whole {
			res.Lost++
			continue
		}
		for k := 1; k < len(at); k++ {
			hop = append(hop, time.Duration(at[k][i]-at[k-1][i]))
		}
		total = append(total, time.Duration(at[len(at)-1][i]-at[0][i]))
	}
	res.Packets = len(total)
	res.HopP50, res.HopP99 = percentiles(hop)
	res.TotalP50, res.TotalP99 = percentiles(total)
	return res, nil
}
