package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/browser"
)

// Firefox shows what comes, from the page as it is. -long, since it needs Debian's
// firefox-esr. Without the H.264 plug-in that Firefox fetches from its maker it plays VP8, and
// says of H.264 what is wrong.
func TestFirefoxListens(t *testing.T) {
	if !*long {
		t.Skip("only with -long")
	}
	clip := filepath.Join(t.TempDir(), "clip.webm")
	to(t, time.Minute, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000",
		"-t", "10", "-pix_fmt", "yuv420p", "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "50", "-b:v", "600k", "-c:a", "libopus", clip)
	w := launch(t, options{}, "--input", "file:"+clip, "--loop")
	n := w.join()
	n.Live(15 * time.Second)
	page := browser.OpenFirefox(t, n.Line("console"))
	var about string
	page.Script(`return navigator.userAgent + ', plays ' + [...new Set(RTCRtpReceiver.getCapabilities('video').codecs.map(c => c.mimeType))]`, &about)
	t.Log(about)
	eventually(t, 20*time.Second, "Firefox plays", func() error {
		var at float64
		if page.Script(`return document.getElementById('video').currentTime`, &at); at < 1 {
			return errNotYet
		}
		return nil
	})
	var seen struct {
		Frames, Width int
		Seconds, Gap  float64
	}
	page.Script(`return await new Promise(done => {
		const video = document.getElementById('video'), began = performance.now();
		let frames = 0, last = began, gap = 0;
		const shown = now => {
			frames++; gap = Math.max(gap, now - last); last = now;
			if (now - began < 10000) return video.requestVideoFrameCallback(shown);
			done({Frames: frames, Width: video.videoWidth, Seconds: (now - began) / 1000, Gap: gap / 1000});
		};
		video.requestVideoFrameCallback(shown);
	})`, &seen)
	t.Logf("%+v", seen)
	if fps := float64(seen.Frames) / seen.Seconds; fps < 20 || seen.Gap > 1 || seen.Width != 640 {
		t.Errorf("of 25 frames a second Firefox shows %.1f", fps)
	}
	if strings.Contains(about, "H264") {
		return
	}
	other := launch(t, options{}, "--input", "test").join()
	other.Live(15 * time.Second)
	page = browser.OpenFirefox(t, other.Line("console"))
	eventually(t, 20*time.Second, "Firefox says what is wrong", func() error {
		var says string
		page.Script(`return document.getElementById('notice').innerText`, &says)
		if !strings.Contains(says, "H264") {
			return fmt.Errorf("the page says %q", says)
		}
		t.Log(says)
		return nil
	})
}
