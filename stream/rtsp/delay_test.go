package rtsp_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/mediatest"
	"github.com/watergy/waterfall/stream/playback"
)

// gaps notes the longest time between two packets.
type gaps struct {
	mu    sync.Mutex
	last  time.Time
	worst time.Duration
	first chan struct{} // closed at the first packet
}

func newGaps() *gaps { return &gaps{first: make(chan struct{})} }

func (g *gaps) packet() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.last.IsZero() {
		close(g.first)
	} else {
		g.worst = max(g.worst, now.Sub(g.last))
	}
	g.last = now
}

func (g *gaps) longest() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.worst, time.Since(g.last))
}

// A node's playout delay hides an outage, after which what was missed comes at once, from
// browser, RTSP reader and recorder alike (DESIGN 5). Without it browser and RTSP reader
// stand still for as long as it lasts.
func TestDelayHidesOutage(t *testing.T) {
	t.Parallel()
	const outage = 2 * time.Second
	for _, tc := range []struct {
		name  string
		delay time.Duration
	}{{"no delay", 0}, {"delay", outage + time.Second}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.clip()
			src, interrupt := listener(t, b.target)
			src.Delay = tc.delay
			b.source = &src

			browser, reader := newGaps(), newGaps()
			watch(t, src, browser)
			read(t, b.url("room"), func(*rtp.Packet) { reader.packet() })
			file := filepath.Join(t.TempDir(), "a.mkv")
			var said bytes.Buffer
			ctx, stop := context.WithCancel(t.Context())
			recorded := make(chan error, 1)
			go func() { recorded <- playback.Record(ctx, file, src, slog.New(slog.NewTextHandler(&said, nil))) }()
			for _, g := range []*gaps{browser, reader} {
				select {
				case <-g.first:
				case <-time.After(20 * time.Second):
					t.Fatal("nothing comes")
				}
			}
			interrupt(outage)
			<-time.After(tc.delay + time.Second) // what was published in the outage is out
			for name, g := range map[string]*gaps{"browser": browser, "RTSP reader": reader} {
				longest := g.longest()
				t.Logf("%s: still for %v at most", name, longest)
				if tc.delay == 0 && longest < outage*3/4 {
					t.Errorf("%s: only still for %v: there was no outage", name, longest)
				}
				if tc.delay > 0 && longest > outage*3/4 {
					t.Errorf("%s: still for %v in spite of the delay", name, longest)
				}
			}
			stop()
			if err := <-recorded; err != nil {
				t.Fatal(err)
			}
			if out, ok := mediatest.Run(t, 30*time.Second, need.Program(t, "ffmpeg"),
				"-v", "error", "-xerror", "-i", file, "-f", "null", "-"); !ok || out != "" {
				t.Errorf("the recording: %s", out)
			}
			if !strings.Contains(said.String(), "frames_skipped=0") {
				t.Errorf("the recording is not whole: %s", said.String())
			}
		})
	}
}

// listener is a node's copy of the target's stream. interrupt makes its parent stand still,
// then send all that it missed at once; it returns when that is through.
func listener(t *testing.T, target *mediatest.Target) (_ playback.Source, interrupt func(time.Duration)) {
	t.Helper()
	h, s, _ := target.Wait(10 * time.Second)
	far := stream.NewHistory(h.ID(), stream.HistoryConfig{})
	ctx, cancel := context.WithCancel(context.Background())
	done, pause := make(chan struct{}), make(chan time.Duration)
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		cur := h.CursorAt(nil)
		defer cur.Close()
		var buf [64]stream.Packet
		for {
			n, err := cur.Poll(buf[:])
			if err != nil {
				return
			}
			for _, p := range buf[:n] {
				p.At = time.Time{} // it comes now
				far.Put(p, false)
			}
			if n > 0 {
				continue
			}
			select {
			case <-cur.Ready():
			case d := <-pause:
				<-time.After(d)
			case <-ctx.Done():
				return
			}
		}
	}()
	return playback.Source{History: far, Sealer: s}, func(d time.Duration) {
		select {
		case pause <- d:
		case <-done:
		}
		<-time.After(d)
	}
}

// watch plays src by WHEP and notes the gaps of its picture.
func watch(t *testing.T, src playback.Source, g *gaps) {
	t.Helper()
	w, err := playback.NewWHEP("/whep", func(*http.Request) (playback.Source, error) { return src, nil }, playback.WHEPConfig{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(w)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	pc := mediatest.NewClient(t)
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		go func() {
			for {
				if _, _, err := track.ReadRTP(); err != nil {
					return
				}
				g.packet()
			}
		}()
	})
	mediatest.Connect(t, pc, srv.URL+"/whep")
}
