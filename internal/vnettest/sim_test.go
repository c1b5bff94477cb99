package vnettest

import (
	"cmp"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/tree"
)

var (
	simNodes = flag.Int("sim", 60, "listeners in TestSimulation")
	simChurn = flag.Duration("churn", 30*time.Second, "how long listeners come and go in TestSimulation")
	simLoss  = flag.Float64("simloss", 0, "share of packets lost on every line in TestSimulation")
	simUp    = flag.Int64("up", 0, "uplink of every listener in TestSimulation, bits a second; 0: no limit")
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
		s.arrive(*simNodes)
		s.settle()
		s.kill()
		s.comeAndGo(*simChurn)
		s.finish()
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
}

// shape reports layers, loops and loss.
func (s *sim) shape(when string) {
	deepest, loops, unattached := 0, 0, 0
	var lostPackets uint64
	layers := map[int]int{}
	for _, m := range s.listeners {
		st, ok := m.stream()
		lostPackets += lost(st)
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
	dead := map[string]bool{}
	for _, m := range relays {
		dead[m.ID().String()] = true
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
	var backed, orphans, below, others []time.Duration
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
			}
		case slices.ContainsFunc(was.Path, func(id string) bool { return dead[id] }):
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

// meter is what every listener that is here has sent and heard so far.
func (s *sim) meter() map[*member]bytesOf {
	all := map[*member]bytesOf{}
	for _, m := range s.listeners {
		all[m] = m.meter()
	}
	all[s.speaker], all[s.volunteer] = s.speaker.meter(), s.volunteer.meter()
	return all
}

// bytesOf are bytes both ways by purpose, at some time.
type bytesOf struct {
	at                time.Time
	libp2p            uint64 // with UDP's and IP's headers
	control, feedback uint64 // on links
	media             uint64
	libp2pPackets     uint64
	protocols         map[protocol.ID]vnet.Traffic
}

func (m *member) meter() bytesOf {
	p2p, _ := m.host.Traffic(vnet.LibP2PPort)
	b := bytesOf{
		at: time.Now(), libp2p: p2p.In + p2p.Out, libp2pPackets: p2p.PacketsIn + p2p.PacketsOut,
		protocols: m.host.Protocols(),
	}
	if st, ok := m.stream(); ok {
		b.control = st.ControlBytes.In + st.ControlBytes.Out
		b.feedback = st.FeedbackBytes.In + st.FeedbackBytes.Out
		b.media = st.MediaBytes.In + st.MediaBytes.Out
	}
	return b
}

// traffic reports what those who were here all the time have sent and heard.
func (s *sim) traffic(when string, before map[*member]bytesOf) {
	var p2p, control, feedback []float64
	for _, m := range s.listeners {
		was, ok := before[m]
		if !ok {
			continue
		}
		d := m.meter().since(was)
		p2p = append(p2p, d.libp2p)
		control = append(control, d.libp2p+d.control)
		feedback = append(feedback, d.feedback/max(d.media, 1))
	}
	s.report.rates(when+": control a listener, in + out", control, 25)
	s.report.rates(when+":   of that libp2p", p2p, 0)
	s.byProtocol(when, before)
	for _, x := range []struct {
		name string
		m    *member
	}{{"speaker", s.speaker}, {"volunteer", s.volunteer}} {
		d := x.m.meter().since(before[x.m])
		s.report.say(when+": control of the "+x.name, fmt.Sprintf("%.1f kbit/s", d.libp2p+d.control))
	}
	f := mean(feedback)
	s.report.add(line{
		name: when + ": feedback, share of media on links", got: fmt.Sprintf("%.2f %%", 100*f),
		want: "≤ 2 %", wrong: f > 0.02,
	})
}

// byProtocol reports what libp2p's share is made of: payload in streams, and packets,
// which carry 28 bytes of IP and UDP and some 30 of QUIC each.
func (s *sim) byProtocol(when string, before map[*member]bytesOf) {
	sum, packets, n := map[protocol.ID]float64{}, 0.0, 0.0
	for _, m := range s.listeners {
		was, ok := before[m]
		if !ok {
			continue
		}
		now := m.meter()
		sec := now.at.Sub(was.at).Seconds()
		for p, t := range now.protocols {
			u := was.protocols[p]
			sum[p] += float64(t.In+t.Out-u.In-u.Out) * 8 / 1000 / sec
		}
		packets += float64(now.libp2pPackets-was.libp2pPackets) / sec
		n++
	}
	got := fmt.Sprintf("%.1f packets/s", packets/n)
	for _, p := range slices.Sorted(maps.Keys(sum)) {
		if v := sum[p] / n; v >= 0.05 {
			got += fmt.Sprintf(", %s %.1f kbit/s", cmp.Or(string(p), "(opening)"), v)
		}
	}
	s.report.say(when+":   in streams", got)
}

// perSecond are rates in kbit/s.
type perSecond struct{ libp2p, control, feedback, media float64 }

func (b bytesOf) since(was bytesOf) perSecond {
	kbit := func(now, then uint64) float64 {
		return (float64(now) - float64(then)) * 8 / 1000 / b.at.Sub(was.at).Seconds()
	}
	return perSecond{
		libp2p: kbit(b.libp2p, was.libp2p), control: kbit(b.control, was.control),
		feedback: kbit(b.feedback, was.feedback), media: kbit(b.media, was.media),
	}
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
