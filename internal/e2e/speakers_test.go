package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/node"
)

// Five people speak in one room: everybody, the speakers too, has every stream, nobody sends
// more than its budget; one that restarts comes back as a new stream; RTSP lets choose.
func TestFiveSpeakers(t *testing.T) {
	const speakers, listeners, slots = 5, 4, 4
	w := &network{t: t}
	w.bootstrap = run(t, "bootstrap", options{}, append([]string{"bootstrap"}, local...)...)
	ticket := w.panel()
	input := []string{ticket, "--input", "file:" + lowRate(t), "--loop"}
	var all, speaking []*Node
	for i := range speakers {
		n := run(t, fmt.Sprintf("speaker %d", i+1), options{}, w.args("speak", input...)...)
		all, speaking = append(all, n), append(speaking, n)
	}
	for i := range listeners {
		args := []string{ticket}
		if i == 0 {
			args = append(args, "--rtsp", "127.0.0.1:0")
		}
		n := run(t, fmt.Sprintf("listener %d", i+1), options{}, w.args("join", args...)...)
		all = append(all, n)
	}
	live := func(n *Node) []node.StreamStatus {
		st, err := n.Status()
		if err != nil || len(st.Rooms) == 0 {
			return nil
		}
		var out []node.StreamStatus
		for _, s := range st.Rooms[0].Streams {
			if s.State == "live" {
				out = append(out, s)
			}
		}
		return out
	}
	everybody := func(limit time.Duration, what string) {
		t.Helper()
		eventually(t, limit, what, func() error {
			for _, n := range all {
				if k := len(live(n)); k != speakers {
					return fmt.Errorf("%s has %d of %d streams live", n.Name, k, speakers)
				}
			}
			return nil
		})
	}
	everybody(40*time.Second, "everybody has every stream")
	pause(5 * time.Second)
	everybody(5*time.Second, "everybody still has")
	for _, n := range all {
		used, sent := 0, uint64(0)
		for _, s := range live(n) {
			used += len(s.Children)
			for range s.Children {
				for _, track := range s.Tracks {
					sent += track.BitrateBPS
				}
			}
			if k := lost(s); k != 0 {
				t.Errorf("%s lost %d of stream %.8s", n.Name, k, s.ID)
			}
			if s.DepthBelow > 4 || s.Layer != nil && *s.Layer > 4 {
				t.Errorf("%s stands in layer %v of stream %.8s", n.Name, *s.Layer, s.ID)
			}
		}
		t.Logf("%s: %d children in %d trees, %d kbit/s", n.Name, used, speakers, sent/1000)
		if sent > slots*2_500_000*11/10 {
			t.Errorf("%s sends %d kbit/s, more than its budget", n.Name, sent/1000)
		}
	}

	// Each stream is to be had by its ID.
	first := all[speakers]
	for _, s := range live(first)[:2] {
		out, ok := tool(t, 30*time.Second, need.Program(t, "ffmpeg"), "-v", "error", "-rtsp_transport", "tcp",
			"-i", first.Line("rtsp")+"?stream="+s.ID, "-t", "1", "-f", "null", "-")
		if !ok {
			t.Errorf("stream %.8s by RTSP: %s", s.ID, out)
		}
	}

	speaking[0].Kill()
	again := run(t, "speaker 1 again", options{home: speaking[0].Home}, w.args("speak", input...)...)
	all[0] = again
	eventually(t, 20*time.Second, "the new stream is everywhere", func() error {
		own := ""
		for _, s := range live(again) {
			if s.Role == "speaker" {
				own = s.ID
			}
		}
		if own == "" {
			return fmt.Errorf("the speaker is not live again")
		}
		for _, n := range all {
			found := false
			for _, s := range live(n) {
				found = found || s.ID == own
			}
			if !found {
				return fmt.Errorf("%s does not have it", n.Name)
			}
		}
		return nil
	})
}

// lowRate makes a clip of about 560 kbit/s: of two such streams a node passes both on.
func lowRate(t *testing.T) string {
	t.Helper()
	clip := filepath.Join(t.TempDir(), "clip.mp4")
	if out, ok := tool(t, 60*time.Second, need.Program(t, "ffmpeg"),
		"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", "4",
		"-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "50", "-b:v", "500k", "-maxrate", "500k", "-bufsize", "500k",
		"-c:a", "libopus", "-b:a", "64k", clip); !ok {
		t.Fatal(out)
	}
	return clip
}

// panel makes a room in which anyone speaks, and returns its ticket.
func (w *network) panel() string {
	w.t.Helper()
	maker := filepath.Join(w.t.TempDir(), "maker")
	code, stdout, stderr := command(w.t, 30*time.Second, options{env: []string{"WFNODE_HOME=" + maker}},
		"create", "--name", "panel", "--anyone-speaks", "--bootstrap", w.bootstrap.Line("address"), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false")
	if code != 0 {
		w.t.Fatalf("create: %d %s", code, stderr)
	}
	return field(stdout, "ticket: ")
}

// tool runs a program to its end and returns what it said.
func tool(t testing.TB, limit time.Duration, name string, args ...string) (said string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err == nil
}

// field is what follows prefix in the first line that begins with it.
func field(text, prefix string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
			return v
		}
	}
	return ""
}
