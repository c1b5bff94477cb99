package treesim

import (
	"math"
	"testing"
	"time"
)

// depthBound is ceil(log4 N) + 1.
func depthBound(n int) int { return int(math.Ceil(math.Log(float64(n))/math.Log(4))) + 1 }

// run simulates and checks what must hold in every run: everyone who lives gets the
// stream, nobody ever took it from below, nobody served more than it has slots.
func run(t testing.TB, cfg Config) Result {
	t.Helper()
	r, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Attached != r.Alive {
		t.Errorf("%d of %d nodes have the stream", r.Attached, r.Alive)
	}
	if r.Loops > 0 || r.Over > 0 {
		t.Errorf("%d loops, %d times more children than slots", r.Loops, r.Over)
	}
	return r
}

func TestJoin(t *testing.T) {
	for name, cfg := range map[string]Config{
		"one after another":    {Nodes: 2000, Seed: 1, Spread: time.Minute, Wire: true},
		"with a flash crowd":   {Nodes: 2000, Seed: 2, Spread: time.Minute, Crowd: 0.4},
		"all at once":          {Nodes: 2000, Seed: 3, Spread: 2 * time.Second, Crowd: 1},
		"two slots":            {Nodes: 300, Seed: 4, Spread: 20 * time.Second, Slots: 2, Crowd: 0.3},
		"chain":                {Nodes: 12, Seed: 5, Spread: 10 * time.Second, Slots: 1},
		"a speaker on its own": {Nodes: 1, Seed: 6, Spread: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, cfg)
			if r.Alive != cfg.Nodes {
				t.Errorf("%d nodes, want %d", r.Alive, cfg.Nodes)
			}
			if cfg.Slots == 0 && r.Depth() > depthBound(cfg.Nodes) {
				t.Errorf("depth %d, want at most %d: layers %v", r.Depth(), depthBound(cfg.Nodes), r.Layers)
			}
			t.Logf("depth %d, join p50 %v p99 %v", r.Depth(), r.Join.Quantile(.5), r.Join.Quantile(.99))
		})
	}
}

// TestLayersFill: with no hurry, a layer begins when the one above is full.
func TestLayersFill(t *testing.T) {
	r := run(t, Config{Nodes: 100, Seed: 1, Spread: 5 * time.Minute})
	want := []int{1, 4, 16, 64, 15}
	if len(r.Layers) != len(want) {
		t.Fatalf("layers %v, want %v", r.Layers, want)
	}
	for i := range want {
		if r.Layers[i] != want[i] {
			t.Fatalf("layers %v, want %v", r.Layers, want)
		}
	}
}

// TestKill: a tenth of the nodes that feed others dies at once.
func TestKill(t *testing.T) {
	r := run(t, Config{Nodes: 2000, Seed: 1, Spread: 30 * time.Second, Kill: 0.1, KillAt: 45 * time.Second, Wire: true})
	if r.Alive == 2000 || len(r.Orphans) == 0 {
		t.Fatal("nobody died")
	}
	if p50, p99 := r.Orphans.Quantile(.5), r.Orphans.Quantile(.99); p50 > 1500*time.Millisecond || p99 > 5*time.Second {
		t.Errorf("orphans wait p50 %v, p99 %v; want at most 1.5 s and 5 s", p50, p99)
	}
	t.Logf("orphans p50 %v p99 %v, below p50 %v p99 %v, depth %d", r.Orphans.Quantile(.5), r.Orphans.Quantile(.99),
		r.Below.Quantile(.5), r.Below.Quantile(.99), r.Depth())
}

// TestKillNearTop: a node of layer 1 with four children dies.
func TestKillNearTop(t *testing.T) {
	for seed := range uint64(5) {
		r := run(t, Config{Nodes: 26, Seed: seed, Spread: 2 * time.Second, Kill: 0.01, Layer: 1, KillAt: 10 * time.Second})
		if len(r.Orphans) != 4 {
			t.Fatalf("%d orphans, want 4", len(r.Orphans))
		}
		if worst := r.Orphans.Quantile(1); worst > 2*time.Second {
			t.Errorf("seed %d: the last is live again after %v", seed, worst)
		}
	}
}

// TestLeave: the same share leaves politely, and nobody below notices: at most a
// handful, whose next parents left as well.
func TestLeave(t *testing.T) {
	r := run(t, Config{Nodes: 2000, Seed: 1, Spread: 30 * time.Second, Kill: 0.1, KillAt: 45 * time.Second, Polite: true})
	if r.Alive == 2000 || r.Switches < 100 {
		t.Fatalf("%d nodes left, %d moved", 2000-r.Alive, r.Switches)
	}
	if n := len(r.Orphans); n > r.Switches/50 {
		t.Errorf("%d of %d that moved were without the stream meanwhile", n, r.Switches)
	}
}

// TestSameSeed: a run is a function of its Config.
func TestSameSeed(t *testing.T) {
	cfg := Config{Nodes: 300, Seed: 7, Spread: 10 * time.Second, Crowd: 0.5, Kill: 0.1, KillAt: 20 * time.Second}
	a, b := run(t, cfg), run(t, cfg)
	if a.Hash != b.Hash {
		t.Errorf("same seed: hashes %x and %x", a.Hash, b.Hash)
	}
	cfg.Seed = 8
	if c := run(t, cfg); c.Hash == a.Hash {
		t.Error("another seed gives the same hash")
	}
}

// BenchmarkJoin10000 is the figure for 10,000 nodes: everyone in, depth within bounds.
func BenchmarkJoin10000(b *testing.B) {
	for range b.N {
		r := run(b, Config{Nodes: 10_000, Seed: 1, Spread: time.Minute, Crowd: 0.3})
		if r.Depth() > depthBound(10_000) {
			b.Fatalf("depth %d", r.Depth())
		}
		b.ReportMetric(float64(r.Depth()), "depth")
		b.ReportMetric(r.Join.Quantile(.99).Seconds(), "join-p99-s")
	}
}
