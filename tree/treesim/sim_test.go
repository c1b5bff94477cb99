package treesim

import (
	"math"
	"testing"
	"time"
)

// depthBound is ceil(log4 N) + 1.
func depthBound(n int) int { return int(math.Ceil(math.Log(float64(n))/math.Log(4))) + 1 }

// run simulates and checks what must hold in every run: everyone who lives gets the
// stream, nobody ever took it from below, nobody was asked for far more than it has slots.
func run(t testing.TB, cfg Config) Result {
	t.Helper()
	r, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Attached != r.Alive && cfg.Stay == 0 {
		t.Errorf("%d of %d nodes have the stream", r.Attached, r.Alive)
	}
	if r.Loops > 0 || r.Over > 0 {
		t.Errorf("%d loops, %d times far more children than slots", r.Loops, r.Over)
	}
	return r
}

func TestJoin(t *testing.T) {
	for name, cfg := range map[string]Config{
		"one after another":    {Nodes: 2000, Seed: 1, Spread: time.Minute, Wire: true},
		"with a flash crowd":   {Nodes: 2000, Seed: 2, Spread: time.Minute, Crowd: 0.4},
		"all at once":          {Nodes: 2000, Seed: 3, Spread: 2 * time.Second, Crowd: 1, Until: time.Minute},
		"two slots":            {Nodes: 300, Seed: 4, Spread: 20 * time.Second, Slots: 2, Crowd: 0.3},
		"chain":                {Nodes: 12, Seed: 5, Spread: 10 * time.Second, Slots: 1, Until: time.Minute},
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

// TestKill: a tenth of the nodes that feed others dies at once. Most orphans have a
// backup that lives, and the tree is as flat as before a minute later.
func TestKill(t *testing.T) {
	r := run(t, Config{
		Nodes: 1000, Seed: 1, Spread: 30 * time.Second, Kill: 0.1, KillAt: 75 * time.Second, Wire: true,
		Until: 135 * time.Second,
	})
	if r.Alive == 1000 || len(r.Orphans) == 0 {
		t.Fatal("nobody died")
	}
	p50, p90, p99 := r.Orphans.Quantile(.5), r.Orphans.Quantile(.9), r.Orphans.Quantile(.99)
	if p50 > 400*time.Millisecond || p90 > 1600*time.Millisecond || p99 > 3*time.Second {
		t.Errorf("orphans wait p50 %v, p90 %v, p99 %v; want at most 400 ms, 1.6 s and 3 s", p50, p90, p99)
	}
	if r.Strays > 0 {
		t.Errorf("%d nodes moved within 5 s though their parent lives", r.Strays)
	}
	if r.Crowded > 0 || r.Depth() > depthBound(1000) {
		t.Errorf("depth %d, want %d; %d nodes with too many children", r.Depth(), depthBound(1000), r.Crowded)
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
		if worst := r.Orphans.Quantile(1); worst > 600*time.Millisecond {
			t.Errorf("seed %d: the last is live again after %v", seed, worst)
		}
	}
}

// TestBreakSparesTheRoot: a node of layer 1 dies with a quarter of the room below it. Its
// children are mended where they are: neither they nor those below turn to the speaker.
func TestBreakSparesTheRoot(t *testing.T) {
	for seed := range uint64(3) {
		r := run(t, Config{
			Nodes: 1000, Seed: seed, Spread: 30 * time.Second, Kill: 0.01, Layer: 1, KillAt: 75 * time.Second,
			Until: 105 * time.Second,
		})
		if len(r.Orphans) == 0 || r.AtRoot > uint64(2*len(r.Orphans)) {
			t.Errorf("seed %d: %d offers came to the speaker after a death that orphaned %d", seed, r.AtRoot, len(r.Orphans))
		}
		if worst := r.Below.Quantile(1); worst > 1500*time.Millisecond {
			t.Errorf("seed %d: one below the orphans waited %v", seed, worst)
		}
		t.Logf("seed %d: %d orphans, %d below, %d offers at the speaker", seed, len(r.Orphans), len(r.Below), r.AtRoot)
	}
}

// TestIdleRoom: in a room where nobody comes or goes, nobody asks for anything, and what the
// nodes say to each other does not grow.
func TestIdleRoom(t *testing.T) {
	cfg := Config{Nodes: 300, Seed: 1, Spread: 20 * time.Second, Until: 4 * time.Minute}
	early := run(t, cfg)
	cfg.Until += time.Minute
	late := run(t, cfg)
	if late.Offers != early.Offers {
		t.Errorf("%d offers by signalling within a quiet minute", late.Offers-early.Offers)
	}
	rate := float64(late.Messages-early.Messages) / 60 / float64(cfg.Nodes)
	t.Logf("%.2f messages a second and node", rate)
	if rate > 3 { // a sum, a head and a beat in two seconds, and backups drawn anew
		t.Errorf("%.2f messages a second and node", rate)
	}
}

// TestStrongLast: a node with 16 slots comes last, into a room where all have 2.
func TestStrongLast(t *testing.T) {
	for seed := range uint64(3) {
		r := run(t, Config{
			Nodes: 300, Seed: seed, Slots: 2, Spread: 30 * time.Second, Strong: time.Minute, Until: 3 * time.Minute,
		})
		t.Logf("seed %d: in layer 1 after %v, mean delay %v, was %v", seed, r.StrongIn, r.Delay.Mean(), r.Before)
		if r.StrongIn == 0 || r.StrongIn > 30*time.Second {
			t.Errorf("seed %d: it stands in layer 1 after %v (0: never)", seed, r.StrongIn)
		}
		if r.Delay.Mean() >= r.Before {
			t.Errorf("seed %d: the mean delay is %v, was %v", seed, r.Delay.Mean(), r.Before)
		}
		if n := len(r.Orphans) + len(r.Below); n > 0 {
			t.Errorf("seed %d: %d nodes missed something", seed, n)
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

// TestChurn: people stay two minutes, a third of them go by dying.
func TestChurn(t *testing.T) {
	r := run(t, Config{Nodes: 300, Seed: 1, Spread: 20 * time.Second, Stay: 2 * time.Minute, Dying: 0.3, Until: 4 * time.Minute})
	late := float64(r.Late) / float64(r.Watched)
	t.Logf("%.4f%% late, orphans p50 %v max %v, depth %d", 100*late, r.Orphans.Quantile(.5), r.Orphans.Quantile(1), r.Depth())
	if late > 0.001 {
		t.Errorf("%.4f%% of the packets came too late for a playout delay of 500 ms", 100*late)
	}
	if worst := r.Orphans.Quantile(1); worst > 3*time.Second {
		t.Errorf("an orphan waited %v", worst)
	}
	if r.Depth() > depthBound(300)+2 {
		t.Errorf("depth %d, want at most %d: %v", r.Depth(), depthBound(300)+2, r.Layers)
	}
}

// TestPartition: a third of the room loses the speaker for 20 s; all are back soon after,
// in a tree that is flat.
func TestPartition(t *testing.T) {
	r := run(t, Config{Nodes: 300, Seed: 1, Spread: 20 * time.Second, Cut: 0.3, CutAt: 30 * time.Second, CutFor: 20 * time.Second})
	if r.Depth() > depthBound(300)+1 {
		t.Errorf("depth %d: %v", r.Depth(), r.Layers)
	}
	if worst := max(r.Below.Quantile(1), r.Orphans.Quantile(1)); worst > 26*time.Second {
		t.Errorf("somebody waited for %v", worst)
	}
}

// TestMixes: access lines as they are, and far too few slots.
func TestMixes(t *testing.T) {
	for _, m := range []Mix{Access, Scarce} {
		t.Run(string(m), func(t *testing.T) {
			r := run(t, Config{Nodes: 1000, Seed: 1, Spread: 30 * time.Second, Mix: m, Until: 90 * time.Second})
			t.Logf("depth %d, join p50 %v p99 %v", r.Depth(), r.Join.Quantile(.5), r.Join.Quantile(.99))
			if m == Access && r.Depth() > depthBound(1000)+1 {
				t.Errorf("depth %d: %v", r.Depth(), r.Layers)
			}
		})
	}
}

// TestLiars: one in twenty takes children and delivers nothing.
func TestLiars(t *testing.T) {
	r := run(t, Config{Nodes: 300, Seed: 1, Spread: 30 * time.Second, Liars: 0.05, Until: 90 * time.Second})
	t.Logf("join p50 %v, p99 %v", r.Join.Quantile(.5), r.Join.Quantile(.99))
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
