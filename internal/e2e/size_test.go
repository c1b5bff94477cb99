package e2e

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/watergy/waterfall/node"
)

// Figure 5: a listening node with 4 children at 2.5 Mbit/s, and the binary.
func TestMemoryOfANodeWithFourChildren(t *testing.T) {
	w := launch(t, options{}, "--input", "rtsp", "--rtsp", "127.0.0.1:0", "--slots", "1")
	publish(t, w.speaker.Line("rtsp"), "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline",
		"-g", "60", "-b:v", "2.4M", "-minrate", "2.4M", "-maxrate", "2.4M", "-bufsize", "1.2M", "-x264-params", "nal-hrd=cbr:force-cfr=1",
		"-c:a", "libopus", "-b:a", "96k")
	w.speaker.Live(10 * time.Second)
	relay := w.join()
	relay.Live(10 * time.Second)
	for range 4 {
		w.join("--slots", "1").Live(10 * time.Second)
	}
	relay.When(5*time.Second, "serving four", func(s node.StreamStatus) bool { return len(s.Children) == 4 })
	pause(watching())

	var rate uint64
	for _, track := range relay.Live(time.Second).Tracks {
		rate += track.BitrateBPS
	}
	resident := memory(t, relay, "VmRSS:")
	t.Logf("%.1f MiB resident (peak %.1f) at %.2f Mbit/s", resident, memory(t, relay, "VmHWM:"), float64(rate)/1e6)
	if rate < 2.2e6 {
		t.Errorf("the stream has only %d bit/s", rate)
	}
	if resident > 90 {
		t.Errorf("%.1f MiB are resident", resident)
	}
	w.checkLoss()
}

// memory reads a line of the process's /proc status, in MiB.
func memory(t testing.TB, n *Node, key string) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := bytes.Cut(b, []byte(key))
	var kib float64
	if _, err := fmt.Sscan(string(after), &kib); !ok || err != nil {
		t.Fatalf("no %s in /proc", key)
	}
	return kib / 1024
}

func TestBinarySize(t *testing.T) {
	fi, err := os.Stat(wfnode)
	if err != nil {
		t.Fatal(err)
	}
	mib := float64(fi.Size()) / (1 << 20)
	t.Logf("%.1f MiB", mib)
	if mib > 45 {
		t.Errorf("the binary has %.1f MiB", mib)
	}
}
