package vnettest

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/node"
)

var long = flag.Bool("long", false, "TestSpeakers with 5 speakers and 20 listeners for 60 s, TestDroppingNode with all that a relay may keep back, TestSpeakerStartedAnew with two speakers")

const (
	panelRate   = 600_000 // bits a second of each stream
	panelSlots  = 4
	panelUplink = panelSlots * 2_500_000 // what node reckons four slots to be worth
)

// panel is a room in which several speak.
type panel struct {
	*crowd
	speakers []*member
	all      []*member // speakers and listeners
}

func newPanel(t *testing.T, n *vnet.Network, speakers, listeners int) *panel {
	line := vnet.HostConfig{Up: panelUplink}
	every := time.Second * feedSize * 8 / panelRate
	p := &panel{crowd: newCrowd(t, n, crowdConfig{
		anyone: true, feed: feedEach(every), history: 1 << 20, slots: panelSlots, speaker: line, log: slog.LevelError,
	})}
	p.speakers = []*member{p.speaker}
	for i := range speakers - 1 {
		p.speakers = append(p.speakers, p.speak(100+i, line))
	}
	for i := range listeners {
		p.join(200+i, line)
		time.Sleep(100 * time.Millisecond)
	}
	p.all = append(append(p.all, p.speakers...), p.listeners...)
	return p
}

// speak adds another speaker.
func (p *panel) speak(i int, hc vnet.HostConfig) *member {
	m := p.start(i, hc, node.Config{Slots: panelSlots})
	p.others = append(p.others, m)
	p.task(func() (err error) {
		defer func() {
			if m.gone.Load() {
				err = nil
			}
		}()
		ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
		defer cancel()
		if err := m.Host().Bootstrapped(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		return m.Speak(p.t.Context(), node.SpeakConfig{Room: p.room, Feed: p.cfg.feed})
	})
	return m
}

// streams is what m has of every stream of the room.
func (m *member) streams() (live []node.StreamStatus) {
	for _, r := range m.Status().Rooms {
		for _, s := range r.Streams {
			if s.State == "live" {
				live = append(live, s)
			}
		}
	}
	return live
}

// Several speak in one room, each with a tree of its own over the slots of all: everybody has
// every stream, nobody sends more than its uplink carries, nothing is lost, the trees are
// flat, and speakers hear each other over one hop.
func TestSpeakers(t *testing.T) {
	speakers, listeners, settled, watched := 3, 6, 5*time.Second, 10*time.Second
	if *long {
		speakers, listeners, settled, watched = 5, 20, 30*time.Second, time.Minute
	}
	vnet.Run(t, vnet.Config{Seed: *seed, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		p := newPanel(t, n, speakers, listeners)
		took := p.eventually(30*time.Second, p.all, func(m *member) string {
			if k := len(m.streams()); k != speakers {
				return fmt.Sprintf("has %d of %d streams", k, speakers)
			}
			return ""
		})
		t.Logf("everybody has all %d streams %v after the last has come", speakers, took)
		took = p.eventually(time.Minute, p.speakers, func(m *member) string {
			for _, s := range m.streams() {
				if s.Layer != nil && *s.Layer > 1 {
					return fmt.Sprintf("is in layer %d of another's tree", *s.Layer)
				}
			}
			return ""
		})
		t.Logf("every speaker is in layer 1 of the others %v later", took)

		time.Sleep(settled) // bursts are over, rates are known, and children have moved by them
		before := p.note()
		dropped := n.Stats().QueueDrops
		time.Sleep(watched)
		if k := n.Stats().QueueDrops - dropped; k != 0 {
			t.Errorf("uplinks have dropped %d packets", k)
		}
		p.checkPanel(before, watched)
	})
}

// note is what everybody has sent and lost so far.
func (p *panel) note() map[*member]noted {
	all, missed := map[*member]noted{}, uint64(0)
	for _, m := range p.all {
		_, link := m.host.Traffic(vnet.LibP2PPort)
		x := noted{sent: link.Out, lost: map[string]uint64{}}
		for _, s := range m.streams() {
			x.lost[s.ID] = lost(s)
			missed += lost(s)
		}
		all[m] = x
	}
	p.t.Logf("%d packets lost while people came", missed)
	return all
}

type noted struct {
	sent uint64            // bytes on links
	lost map[string]uint64 // packets of each stream
}

// checkPanel fails the test if a stream is missing or has lost packets since before, a tree is
// deep, or a node sends more than its uplink has.
func (p *panel) checkPanel(before map[*member]noted, watched time.Duration) {
	p.t.Helper()
	sum, places, live, most, busiest := map[string]int{}, map[string]int{}, 0, 0, 0.0
	for _, m := range p.all {
		children := 0
		for _, s := range m.streams() {
			children += len(s.Children)
			if k := lost(s) - before[m].lost[s.ID]; k != 0 {
				p.t.Errorf("%s lost %d packets of stream %.8s", m.name, k, s.ID)
			}
			if s.Role != "speaker" && s.Layer != nil {
				live++
				sum[s.ID] += *s.Layer
				places[s.ID]++
			}
		}
		_, link := m.host.Traffic(vnet.LibP2PPort)
		rate := float64(link.Out-before[m].sent) * 8 / watched.Seconds()
		most, busiest = max(most, children), max(busiest, rate)
		if rate > panelUplink {
			p.t.Errorf("%s sends %.0f kbit/s, more than its budget", m.name, rate/1000)
		}
	}
	if want := len(p.speakers) * (len(p.all) - 1); live != want {
		p.t.Errorf("%d of %d streams are live", live, want)
	}
	for id, k := range places {
		mean := float64(sum[id]) / float64(k)
		p.t.Logf("stream %.8s: mean depth %.2f", id, mean)
		if mean > 3.5 {
			p.t.Errorf("stream %.8s: mean depth %.2f", id, mean)
		}
	}
	p.t.Logf("%d streams live; at most %d children and %.0f kbit/s a node", live, most, busiest/1000)
}
