package playback_test

import (
	"bufio"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream/internal/avc"
	"github.com/watergy/waterfall/stream/internal/mediatest"
	"github.com/watergy/waterfall/stream/playback"
)

var long = flag.Bool("long", false, "stall for 20 s")

// viewerURL makes this test binary a viewer, which TestStalledViewerResumes stops and wakes.
const viewerURL = "WATERFALL_TEST_WHEP"

// watch has pc take the stream at url; each video packet is handed to packet in order of arrival.
func watch(t *testing.T, url string, packet func(seq uint16, keyStart bool)) {
	t.Helper()
	pc := mediatest.NewClient(t)
	receive(t, pc)
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() == webrtc.RTPCodecTypeVideo {
				packet(p.SequenceNumber, avc.KeyStart(p.Payload))
			}
		}
	})
	mediatest.Connect(t, pc, url)
}

// TestViewerProcess is no test but the viewer: it says when it sees the stream, and when it
// goes on at a keyframe after a gap.
func TestViewerProcess(t *testing.T) {
	url := os.Getenv(viewerURL)
	if url == "" {
		t.Skip("is run by TestStalledViewerResumes")
	}
	over := make(chan struct{})
	next, count, gap := uint16(0), 0, 0
	watch(t, url, func(seq uint16, keyStart bool) {
		ahead := int16(seq - next)
		switch {
		case ahead < 0:
			return // sent again
		case ahead > 0 && count > 0:
			gap += int(ahead)
		}
		next = seq + 1
		if count++; count == 60 {
			fmt.Println("seen")
		}
		if gap > 200 && keyStart {
			fmt.Println("resumed", gap)
			close(over)
			gap = -1 << 30
		}
	})
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatal("it does not go on")
	}
}

// A viewer's process is stopped for a while, and woken: it goes on at a keyframe; meanwhile
// another one gets every packet, and memory stays bounded.
func TestStalledViewerResumes(t *testing.T) {
	t.Parallel()
	pause := 7 * time.Second // longer than ICE takes to call it disconnected
	if *long {
		pause = 20 * time.Second
	}
	_, src := clip(t)
	srv := whep(t, playback.WHEPConfig{}, func(*http.Request) (playback.Source, error) { return src, nil })
	viewer := exec.Command(os.Args[0], "-test.run=^TestViewerProcess$")
	viewer.Env = append(os.Environ(), viewerURL+"="+srv.URL+"/whep/room")
	viewer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := viewer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := viewer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = viewer.Process.Kill()
		_ = viewer.Wait()
	})
	said := make(chan string, 16)
	go func() {
		defer close(said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said <- lines.Text()
		}
	}()
	wait := func(word string) string {
		t.Helper()
		limit := time.After(30 * time.Second)
		for {
			select {
			case line, ok := <-said:
				if !ok {
					t.Fatalf("the viewer ended without having said %q", word)
				}
				if strings.HasPrefix(line, word) {
					return line
				}
			case <-limit:
				t.Fatalf("the viewer does not say %q within 30 s", word)
			}
		}
	}
	wait("seen")

	packets := make(chan uint16, 1<<16)
	watch(t, srv.URL+"/whep/room", func(seq uint16, _ bool) { packets <- seq })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := viewer.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(pause)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err := viewer.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	woken := time.Now()
	gap := wait("resumed")
	t.Logf("%s packets were left out; it goes on %v after it woke", strings.TrimPrefix(gap, "resumed "), time.Since(woken).Round(time.Millisecond))
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d KiB more in the heap after %v", grown>>10, pause)
	if grown > 24<<20 { // the history's 16 MiB fill meanwhile
		t.Errorf("%d MiB more are held for a viewer that stalls", grown>>20)
	}
	got := map[uint16]bool{}
	first, last := <-packets, uint16(0)
	for got[first] = true; len(packets) > 0; {
		last = <-packets
		got[last] = true
	}
	if want := int(last-first) + 1; len(got) != want || want < 100 {
		t.Errorf("beside it another viewer got %d of %d packets", len(got), want)
	}
}
