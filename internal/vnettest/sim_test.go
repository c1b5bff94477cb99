package vnettest

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/tree"
)

var (
	simNodes = flag.Int("sim", 60, "listeners in TestSimulation")
	simChurn = flag.Duration("churn", 30*time.Second, "how long listeners come and go in TestSimulation")
	simLoss  = flag.Float64("simloss", 0, "share of packets lost on every line in TestSimulation")
	simUp    = flag.Int64("up", 0, "uplink of every listener in TestSimulation, bits a second; 0: no limit")
	simProf  = flag.String("prof", "", "profiles that TestSimulation writes when the tree is settled: FILE.heap and FILE.goroutine; empty: none")
	plotsDir = flag.String("plots", "", "directory that TestSimulation writes its plots to; empty: none")
)

const (
	arrivalRate = 10               // listeners a second
	meanStay    = 5 * time.Minute  // of a listener while they come and go
	dying       = 0.3              // share of those who leave without a word
	killShare   = 0.1              // of interior nodes, at once
	settleTime  = 20 * time.Second // before what is calm is measured
	sampleEvery = 5 * time.Second
)

// sim is one run: N listeners arrive at a room, a tenth of the relays dies at once, then
// people come and go.
type sim struct {
	*crowd
	rng   *rand.Rand
	next  int // index of the next node
	begin time.Time
	all   []*member // whoever was here

	report report
	times  []sample
	gaps   []time.Duration // of orphans
}

// TestSimulation is issue 3, figure 3: whole nodes, half of them behind a NAT, about
// 25 ms one way. `make sim N=300` is the same with more of them, and longer.
func TestSimulation(t *testing.T) {
	wall0, cpu0 := vnet.Clock()
	var r report
	vnet.Run(t, vnet.Config{Seed: *seed, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		stun, err := n.Host(netip.AddrFrom4([4]byte{1, 9, 255, 255}), vnet.HostConfig{}).ServeSTUN(3478)
		if err != nil {
			t.Fatal(err)
		}
		s := &sim{
			rng: rand.New(rand.NewPCG(*seed, 0)), next: 2, begin: time.Now(),
			crowd: newCrowd(t, n, crowdConfig{stun: stun.String(), feed: feed, history: 1 << 20, log: slog.LevelError}),
		}
		for _, phase := range []func(){
			func() { s.arrive(*simNodes) }, s.settle, s.kill, func() { s.comeAndGo(*simChurn) }, s.finish,
		} {
			done := len(s.report)
			phase()
			if *simNodes > 100 { // it takes a while
				t.Logf("so far\n%s", s.report[done:])
			}
		}
		r = s.report
		if *plotsDir != "" {
			if err := s.plot(*plotsDir); err != nil {
				t.Error(err)
			}
		}
		t.Logf("%+v", n.Stats())
	})
	wall, cpu := vnet.Clock()
	t.Logf("%d listeners, seed %d: %v wall, %v CPU\n%s", *simNodes, *seed,
		(wall - wall0).Round(time.Second), (cpu - cpu0).Round(time.Second), r)
	for _, l := range r {
		if l.must && l.wrong {
			t.Errorf("%s: %s, want %s", l.name, l.got, l.want)
		}
	}
}

// add lets one more listener join, behind a NAT of its own every second time.
func (s *sim) add() {
	i := s.next
	s.next++
	hc := vnet.HostConfig{
		Delay: 5*time.Millisecond + time.Duration(s.rng.Float64()*float64(15*time.Millisecond)),
		Loss:  *simLoss, Up: *simUp,
	}
	if i%2 == 0 {
		hc.NAT, hc.Gateway = vnet.Restricted, netip.AddrFrom4([4]byte{1, 9, byte(i >> 8), byte(i)})
	}
	s.join(i, hc)
	s.all = append(s.all, s.listeners[len(s.listeners)-1])
}

// pass lets d go by, taking samples.
func (s *sim) pass(d time.Duration) {
	for end := time.Now().Add(d); ; {
		if len(s.times) == 0 || time.Since(s.times[len(s.times)-1].taken) >= sampleEvery {
			s.times = append(s.times, s.sample())
		}
		left := time.Until(end)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, sampleEvery-time.Since(s.times[len(s.times)-1].taken)))
	}
}

func (s *sim) arrive(n int) {
	for range n {
		s.add()
		s.pass(time.Second / arrivalRate)
	}
	s.eventually(30*time.Second, s.listeners, flowing(nil))
	var joins []time.Duration
	for _, m := range s.listeners {
		joins = append(joins, m.probe.read().join)
	}
	s.report.times("join, process start to first packet", joins, []quantile{{0.5, time.Second}, {0.99, 2 * time.Second}})
	for _, part := range []struct {
		name string
		of   func(node.JoinStatus) *float64
	}{
		{"  of that: offer answered", func(j node.JoinStatus) *float64 { return j.AnswerMS }},
		{"  of that: link connected", func(j node.JoinStatus) *float64 { return j.ConnectedMS }},
	} {
		var list []time.Duration
		for _, m := range s.listeners {
			if st, ok := m.stream(); ok {
				if ms := part.of(st.Join); ms != nil {
					list = append(list, time.Duration(*ms*float64(time.Millisecond)))
				}
			}
		}
		s.report.times(part.name, list, []quantile{{0.5, 0}, {0.99, 0}})
	}
}

// settle measures what a quiet tree costs, and its shape.
func (s *sim) settle() {
	s.pass(settleTime)
	before := s.meter()
	s.pass(settleTime)
	s.traffic("quiet", before)
	s.shape("settled")
	s.weigh()
}

// weigh reports what a node takes of this machine.
func (s *sim) weigh() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	nodes := len(s.listeners) + 2
	s.report.say("settled: a node's heap and goroutines", fmt.Sprintf("%.1f MiB live, %d", float64(m.HeapAlloc)/(1<<20)/float64(nodes), runtime.NumGoroutine()/nodes))
	if *simProf == "" {
		return
	}
	for _, kind := range []string{"heap", "goroutine"} {
		f, err := os.Create(*simProf + "." + kind)
		if err == nil {
			err = errors.Join(pprof.Lookup(kind).WriteTo(f, 0), f.Close())
		}
		if err != nil {
			s.t.Error(err)
		}
	}
}

// shape reports layers, loops and loss.
func (s *sim) shape(when string) {
	deepest, loops, unattached := 0, 0, 0
	var lostPackets uint64
	layers := map[int]int{}
	for _, m := range s.listeners {
		st, ok := m.stream()
		if n := lost(st); n > 0 {
			lostPackets += n
			s.report.say(when+": "+m.name+" lost", fmt.Sprintf("%d, layer %s, %d switches, there for %v: %+v", n, orNone(st.Layer), st.Switches, time.Since(m.probe.started).Round(time.Second), st.Tracks))
		}
		if !ok || st.Layer == nil || st.Parent == nil {
			unattached++
			continue
		}
		layers[*st.Layer]++
		deepest = max(deepest, *st.Layer)
		path := slices.Clone(st.Path)
		if slices.Sort(path); len(slices.Compact(path)) != len(st.Path) || slices.Contains(path, m.ID().String()) {
			loops++
		}
	}
	// DESIGN 4: depth ≤ ceil(log_slots N) + 1, N counting the speaker.
	most := int(math.Ceil(math.Log(float64(len(s.listeners)+1))/math.Log(tree.DefaultSlots))) + 1
	s.report.count(when+": not attached", unattached, 0, true)
	s.report.count(when+": loops", loops, 0, true)
	s.report.count(when+": depth", deepest, most, false)
	s.report.count(when+": packets lost", int(lostPackets), 0, *simLoss == 0)
	s.report.say(when+": members by layer", fmt.Sprint(layers))
}

// kill lets a tenth of the relays crash in one instant.
func (s *sim) kill() {
	var relays []*member
	status := map[*member]node.StreamStatus{}
	for _, m := range s.listeners {
		st, _ := m.stream()
		status[m] = st
		if st.Role == "relay" {
			relays = append(relays, m)
		}
	}
	s.rng.Shuffle(len(relays), func(i, j int) { relays[i], relays[j] = relays[j], relays[i] })
	relays = relays[:max(1, int(math.Round(killShare*float64(len(relays)))))]
	dead, paths := map[string]bool{}, map[string][]string{}
	for _, m := range relays {
		dead[m.ID().String()] = true
	}
	isDead := func(id string) bool { return dead[id] }
	for m, st := range status {
		paths[m.ID().String()] = st.Path
	}
	for _, m := range s.listeners {
		m.probe.mark()
	}
	for _, m := range relays {
		s.crash(m)
	}
	// Switches of those whose parent lives are to be no consequence of the crash.
	const aftermath = 5 * time.Second
	s.pass(aftermath)
	var backed, shaken, orphans, below, others []time.Duration
	innocent, switched := 0, 0
	for _, m := range s.listeners {
		was, gap := status[m], m.probe.read().gap
		now, _ := m.stream()
		orphan := was.Parent != nil && dead[*was.Parent]
		switch {
		case orphan:
			orphans = append(orphans, gap)
			if was.Backup != nil && !dead[*was.Backup] {
				backed = append(backed, gap)
				if fed := paths[*was.Backup]; slices.ContainsFunc(fed, isDead) {
					shaken = append(shaken, gap)
				}
			}
		case slices.ContainsFunc(was.Path, isDead):
			below = append(below, gap)
		default:
			others = append(others, gap)
		}
		if !orphan && now.Switches != was.Switches {
			innocent++
			switched += now.Switches - was.Switches
		}
	}
	s.report.say("killed relays / orphans / below orphans", fmt.Sprintf("%d / %d / %d", len(relays), len(orphans), len(below)))
	s.report.times("gap of orphans with a living backup", backed, []quantile{{0.5, 220 * time.Millisecond}, {0.9, 0}, {0.99, 400 * time.Millisecond}})
	s.report.times("  of that: something above the backup died, too", shaken, []quantile{{0.5, 0}, {0.9, 0}, {0.99, 0}})
	s.report.times("gap of all orphans", orphans, []quantile{{0.5, 0}, {0.9, 450 * time.Millisecond}, {0.99, 2500 * time.Millisecond}})
	s.report.times("gap below orphans", below, []quantile{{0.5, 0}, {0.99, 0}})
	s.report.times("gap of all others", others, []quantile{{0.5, 0}, {0.99, 0}})
	s.report.count("switches of nodes whose parent lives", switched, 0, false)
	s.gaps = append(s.gaps, orphans...)
	s.pass(settleTime - aftermath)
	s.shape("after the kill")
}

// comeAndGo has as many come as go, each for meanStay in the mean.
func (s *sim) comeAndGo(d time.Duration) {
	if d <= 0 {
		return
	}
	before := s.meter()
	early := map[*member]reading{}
	for _, m := range s.listeners {
		m.probe.mark()
		early[m] = m.probe.read()
	}
	start, left, died := time.Now(), 0, 0
	for pause := meanStay / time.Duration(len(s.listeners)); ; {
		s.pass(time.Duration(s.rng.ExpFloat64() * float64(pause)))
		if time.Since(start) >= d {
			break
		}
		s.add()
		m := s.listeners[s.rng.IntN(len(s.listeners))]
		if s.rng.Float64() < dying {
			s.crash(m)
			died++
		} else {
			s.leave(m)
			left++
		}
	}
	s.traffic("churn", before)
	s.joinCost(before)
	s.report.say("churn: left / died", fmt.Sprintf("%d / %d in %v", left, died, time.Since(start).Round(time.Second)))
	var total, late uint64
	var gaps, joins []time.Duration
	for _, m := range s.listeners {
		r := m.probe.read()
		if was, stayed := early[m]; stayed {
			total, late = total+r.total-was.total, late+r.late-was.late
			gaps = append(gaps, r.gap)
		} else if time.Since(m.probe.started) > 5*time.Second {
			joins = append(joins, r.join)
		}
	}
	s.report.times("churn: joins", joins, []quantile{{0.5, time.Second}, {0.99, 2 * time.Second}})
	s.report.times("churn: longest gap a node", gaps, []quantile{{0.5, 0}, {0.9, 0}, {0.99, 0}})
	s.report.add(line{
		name: "churn: packets in time with 500 ms of playout delay", want: "≥ 99.99 %",
		got: fmt.Sprintf("%.4f %%", 100-100*float64(late)/float64(max(total, 1))), wrong: late*10_000 > total,
	})
}

// finish looks whether all is well in the end.
func (s *sim) finish() {
	s.eventually(15*time.Second, s.listeners, flowing(s.counts()))
	s.pass(settleTime)
	s.shape("in the end")
}

// sample is a moment of the run.
type sample struct {
	taken             time.Time
	members, attached int
	deepest           int
	control           float64 // kbit/s of libp2p a listener since the sample before
	meters            map[*member]uint64
}

func (s *sim) sample() sample {
	x := sample{taken: time.Now(), members: len(s.listeners), meters: map[*member]uint64{}}
	for _, m := range s.listeners {
		if st, ok := m.stream(); ok && st.Layer != nil {
			x.attached++
			x.deepest = max(x.deepest, *st.Layer)
		}
		p2p, _ := m.host.Traffic(vnet.LibP2PPort)
		x.meters[m] = p2p.In + p2p.Out
	}
	if len(s.times) == 0 {
		return x
	}
	last := &s.times[len(s.times)-1]
	var sum, n float64
	for m, now := range x.meters {
		if was, ok := last.meters[m]; ok {
			sum, n = sum+float64(now-was), n+1
		}
	}
	x.control = sum * 8 / 1000 / max(n, 1) / x.taken.Sub(last.taken).Seconds()
	last.meters = nil
	return x
}
