package e2e

import (
	"slices"
	"testing"
	"time"
)

// carriers are the ways signalling can go, with the time a join may take.
var carriers = []struct {
	signal string
	frame  time.Duration // until the first frame, p50
}{
	{"both", 800 * time.Millisecond},
	{"gossip", 800 * time.Millisecond},
	{"dht", 6 * time.Second},
}

// Either carrier alone is enough to join.
func TestJoinByEachCarrier(t *testing.T) {
	for _, c := range carriers {
		t.Run(c.signal, func(t *testing.T) {
			w := launch(t, options{env: []string{"WFNODE_SIGNAL=" + c.signal}}, "--input", "test")
			w.speaker.Live(10 * time.Second)
			s := w.join().Live(2*c.frame + 5*time.Second)
			if s.Join.Signal == nil || (c.signal != "both" && *s.Join.Signal != c.signal) {
				t.Errorf("joined by %v, not by %s", s.Join.Signal, c.signal)
			}
			w.checkPaths()
		})
	}
}

// A joiner with one carrier gets into a room where everybody else has both.
func TestJoinAnOrdinaryRoomByOneCarrier(t *testing.T) {
	w := launch(t, options{}, "--input", "test")
	w.speaker.Live(10 * time.Second)
	w.join().Live(10 * time.Second)
	for _, c := range carriers[1:] {
		w.extra.env = []string{"WFNODE_SIGNAL=" + c.signal}
		s := w.join().Live(2*c.frame + 5*time.Second)
		if s.Join.Signal == nil || *s.Join.Signal != c.signal {
			t.Errorf("joined by %v, not by %s", s.Join.Signal, c.signal)
		}
	}
	w.checkPaths()
}

// BenchmarkJoin is figure 2: the time of a fresh process from its `peer:` line to the
// answer and to the first frame. At direct, joiners are connected to the speaker beside the
// bootstrap node, so that both may say offer and answer by /waterfall/signal/1, while gossip says
// the same; at gossip-too they are, and nobody signals directly.
func BenchmarkJoin(b *testing.B) {
	ways := []struct {
		name, signal string
		linked       bool
	}{{"both", "both", false}, {"gossip", "gossip", false}, {"dht", "dht", false}, {"direct", "both", true}, {"gossip-too", "gossip", true}}
	for _, c := range ways {
		b.Run(c.name, func(b *testing.B) {
			w := launch(b, options{env: []string{"WFNODE_SIGNAL=" + c.signal}}, "--input", "test")
			w.speaker.Live(10 * time.Second)
			var more []string
			if c.linked {
				more = []string{"--bootstrap", w.speaker.Line("address")}
			}
			var answers, frames, all []float64
			direct := 0
			for b.Loop() {
				n := w.join(more...)
				s := n.When(20*time.Second, "showing a frame", hasFrame)
				doc, err := n.Status()
				if err != nil {
					b.Fatal(err)
				}
				// Join times count from the node's start, the figure from the peer line;
				// a person waits from the start of the process.
				started := time.Now().Add(-time.Duration(doc.UptimeS * float64(time.Second)))
				peer := n.LineWithin("peer", time.Second).at.Sub(started).Seconds() * 1000
				if s.Join.Signal != nil && *s.Join.Signal == "direct" {
					direct++
				}
				answers = append(answers, *s.Join.AnswerMS-peer)
				frames = append(frames, *s.Join.FirstFrameMS-peer)
				all = append(all, *s.Join.FirstFrameMS+started.Sub(n.Started).Seconds()*1000)
				n.Stop()
			}
			b.ReportMetric(0, "ns/op") // starting processes is not what counts
			b.ReportMetric(median(answers), "answer-p50-ms")
			b.ReportMetric(slices.Max(answers), "answer-max-ms")
			b.ReportMetric(median(frames), "frame-p50-ms")
			b.ReportMetric(slices.Max(frames), "frame-max-ms")
			b.ReportMetric(median(all), "from-exec-p50-ms")
			b.ReportMetric(100*float64(direct)/float64(len(all)), "%-by-direct")
		})
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
