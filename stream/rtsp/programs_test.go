package rtsp_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/stream/internal/mediatest"
)

// GStreamer publishes what mpv plays.
func TestGStreamerPublishesAndMPVPlays(t *testing.T) {
	b := newBench(t)
	cmd := exec.Command(need.Program(t, "gst-launch-1.0"), "-q",
		"rtspclientsink", "name=s", "protocols=tcp", "location="+b.url("room"),
		"videotestsrc", "is-live=true", "!", "video/x-raw,width=640,height=360,framerate=30/1", "!",
		"x264enc", "tune=zerolatency", "speed-preset=ultrafast", "key-int-max=30", "!", "s.",
		"audiotestsrc", "is-live=true", "!", "audio/x-raw,rate=48000,channels=2", "!", "opusenc", "!", "s.")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("GStreamer: %s\nserver: %s", out.String(), b.log.String())
		}
	}()
	b.target.Wait(15 * time.Second)
	said, ok := mediatest.Run(t, 30*time.Second, need.Program(t, "mpv"),
		"--no-config", "--vo=null", "--ao=null", "--rtsp-transport=tcp", "--length=3", "--term-status-msg=", b.url("room"))
	if !ok || !strings.Contains(said, "(h264 640x360") || !strings.Contains(said, "(opus 2ch 48000Hz)") || strings.Contains(said, "rror") {
		t.Errorf("mpv says: %s", said)
	}
}
