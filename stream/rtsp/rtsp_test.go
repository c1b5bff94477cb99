package rtsp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/pion/rtp"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/mediatest"
	"github.com/watergy/waterfall/stream/playback"
	"github.com/watergy/waterfall/stream/rtsp"
)

// bench is a server whose paths all lead to one stream.
type bench struct {
	t      *testing.T
	target *mediatest.Target
	source *playback.Source // what is read; nil: what the target has
	server *rtsp.Server
	seats  *playback.Seats
	log    logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// seats is how many readers a bench has room for.
const seats = 8

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, target: mediatest.NewTarget(t), seats: playback.NewSeats(seats)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.server, err = rtsp.Serve(l, rtsp.Config{
		Seats: b.seats,
		Pick: func(path, query string) (playback.Source, error) {
			if path != "room" || query != "" && query != "stream=1" {
				return playback.Source{}, errors.New("no such room here: " + path + "?" + query)
			}
			if b.source != nil {
				return *b.source, nil
			}
			h, s := b.target.Live()
			if h == nil {
				return playback.Source{}, playback.ErrNotLive
			}
			return playback.Source{History: h, Sealer: s}, nil
		},
		Target: func(path string) (ingest.Target, error) {
			if path != "room" {
				return nil, errors.New("no such room here: " + path)
			}
			return b.target, nil
		},
		Log: slog.New(slog.NewTextHandler(&b.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.server.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) url(path string) string { return fmt.Sprintf("rtsp://%s/%s", b.server.Addr(), path) }

// clip plays the test clip into the bench.
func (b *bench) clip() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ingest.TestClip(ctx, b.target, slog.New(slog.DiscardHandler)) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	b.target.Wait(5 * time.Second)
}

// publish runs ffmpeg in the background with a moving picture and a tone; video and
// sound are encoded as the arguments say.
func (b *bench) publish(transport string, codecs ...string) {
	b.t.Helper()
	args := append([]string{
		"-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30",
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-pix_fmt", "yuv420p",
	}, codecs...)
	args = append(args, "-f", "rtsp", "-rtsp_transport", transport, b.url("room"))
	mediatest.Background(b.t, need.Program(b.t, "ffmpeg"), args...)
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("server: %s", b.log.String())
		}
	})
}

var good = []string{"-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "30", "-b:v", "1500k", "-c:a", "libopus"}

// read decodes some seconds with ffmpeg, which must find no error at all, and returns
// how many frames and seconds of sound came.
func (b *bench) read(transport, path string, length time.Duration) (frames int, sound time.Duration) {
	b.t.Helper()
	out, ok := mediatest.Run(b.t, length+20*time.Second, need.Program(b.t, "ffmpeg"),
		"-v", "error", "-xerror", "-stats", "-progress", "-", "-nostats", "-rtsp_transport", transport,
		"-i", b.url(path), "-t", fmt.Sprintf("%.3f", length.Seconds()),
		"-map", "0:v", "-map", "0:a", "-f", "null", "-")
	if !ok {
		b.t.Fatalf("ffmpeg -xerror: %s\nserver: %s", out, b.log.String())
	}
	var us int64
	for line := range strings.Lines(out) {
		k, v, found := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !found:
			b.t.Errorf("ffmpeg says: %s", line)
		case k == "frame":
			_, _ = fmt.Sscan(v, &frames)
		case k == "out_time_us":
			_, _ = fmt.Sscan(v, &us)
		}
	}
	return frames, time.Duration(us) * time.Microsecond
}

// What ffmpeg publishes, ffmpeg reads without an error, over both transports, several
// readers at a time.
func TestFFmpegPublishesAndReads(t *testing.T) {
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) {
			b := newBench(t)
			b.publish(transport, good...)
			_, _, c := b.target.Wait(15 * time.Second)
			if len(c.Tracks) != 2 || !strings.Contains(c.Tracks[0].Fmtp, "sprop-parameter-sets=") {
				t.Errorf("catalog: %+v", c)
			}
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					frames, length := b.read(transport, "room?stream=1", 4*time.Second)
					if frames < 110 || length < 3900*time.Millisecond {
						t.Errorf("%d frames in %v", frames, length)
					}
				})
			}
			wg.Wait()
		})
	}
}

// Sound and picture belong together from the first packet on.
func TestReadersAreInSync(t *testing.T) {
	b := newBench(t)
	b.clip()
	for _, transport := range []string{"tcp", "udp"} {
		d := mediatest.Sync(t, need.Program(t, "ffmpeg"), 4*time.Second, "-rtsp_transport", transport, "-i", b.url("room"))
		t.Logf("%s: sound %v behind the picture", transport, d)
		if d.Abs() > 40*time.Millisecond {
			t.Errorf("%s: sound is %v behind the picture", transport, d)
		}
	}
}

// What cannot pass is refused with words that say what to change, and without a stream.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		codecs []string
		want   string
	}{
		{"AAC", []string{"-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-c:a", "aac"}, "-c:a libopus"},
		{"B-frames", []string{"-c:v", "libx264", "-bf", "2", "-c:a", "libopus"}, "-bf 0"},
		{"MPEG-4 video", []string{"-c:v", "mpeg4", "-c:a", "libopus"}, "-c:v libx264"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			args := append([]string{
				"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30:duration=2",
				"-f", "lavfi", "-i", "sine=duration=2", "-pix_fmt", "yuv420p",
			}, c.codecs...)
			out, ok := mediatest.Run(t, 20*time.Second, need.Program(t, "ffmpeg"), append(args, "-f", "rtsp", b.url("room"))...)
			if ok || !strings.Contains(out, c.want) {
				t.Errorf("ffmpeg is told: %q, want %q in it", out, c.want)
			}
			if !strings.Contains(b.log.String(), c.want) {
				t.Errorf("the log says: %s", b.log.String())
			}
			if h, _ := b.target.Live(); h != nil {
				t.Error("a stream was opened")
			}
		})
	}
}

func TestWrongPathAndNothingLive(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string]string{"room": "nobody is live", "elsewhere": "no such room"} {
		out, ok := mediatest.Run(t, 20*time.Second, need.Program(t, "ffmpeg"), "-v", "error", "-i", b.url(path), "-f", "null", "-")
		if ok || !strings.Contains(out, "404") {
			t.Errorf("%s: ffmpeg says %q", path, out)
		}
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("%s: the log says %s", path, b.log.String())
		}
	}
}

// One reader too many is told so; a seat is free again once a reader has gone.
func TestSeats(t *testing.T) {
	b := newBench(t)
	b.clip()
	for range seats {
		if err := b.seats.Take(); err != nil {
			t.Fatal(err)
		}
	}
	ffmpeg := func() (string, bool) {
		return mediatest.Run(t, 20*time.Second, need.Program(t, "ffmpeg"),
			"-v", "error", "-rtsp_transport", "tcp", "-i", b.url("room"), "-t", "0.1", "-f", "null", "-")
	}
	if out, ok := ffmpeg(); ok || !strings.Contains(out, "limit of 8 viewers") {
		t.Errorf("no seat is left: %s", out)
	}
	b.seats.Leave()
	if out, ok := ffmpeg(); !ok {
		t.Errorf("a seat is free: %s", out)
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // until the server has seen it go
		if out, ok := ffmpeg(); ok {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the reader has gone, its seat is not free: %s", out)
		}
	}
}

// A second publisher is turned away; when the first is killed its stream ends, its
// readers are told, and the place is free.
func TestOnePublisherAtATime(t *testing.T) {
	b := newBench(t)
	ffmpeg := need.Program(t, "ffmpeg")
	input := []string{"-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30", "-pix_fmt", "yuv420p",
		"-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "30", "-f", "rtsp", b.url("room")}
	first := exec.Command(ffmpeg, input...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	b.target.Wait(15 * time.Second)
	if out, ok := mediatest.Run(t, 20*time.Second, ffmpeg, input...); ok || !strings.Contains(out, "publishing here already") {
		t.Errorf("a second publisher is told: %q", out)
	}
	go func() {
		time.AfterFunc(2*time.Second, func() { _ = first.Process.Kill() })
		_ = first.Wait()
	}()
	if out, ok := mediatest.Run(t, 20*time.Second, ffmpeg, "-v", "error", "-i", b.url("room"), "-f", "null", "-"); !ok {
		t.Errorf("a reader at the stream's end: %s", out)
	}
	b.target.WaitEnd(10 * time.Second)
	b.publish("tcp", good...)
	b.target.Wait(15 * time.Second)
}

// A reader that does not read its socket disturbs nobody: another gets every packet of a
// stream that is far more than queues and socket buffers hold.
func TestStalledReaderHurtsNobody(t *testing.T) {
	const packets = 15000 // 17 MB
	b := newBench(t)
	p, err := b.target.Open(t.Context(), stream.Catalog{Tracks: []stream.TrackInfo{
		{Track: 1, Kind: "video", Codec: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, stream.MaxPayload)
	payload[0] = 0x65
	if err := p.Write(1, 0, true, true, payload); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", b.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stall(t, c, b.url("room"))

	last := make(chan struct{})
	var got atomic.Int64
	read(t, b.url("room"), func(pkt *rtp.Packet) {
		got.Add(1)
		if pkt.SequenceNumber == packets {
			close(last)
		}
	})
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 1; i <= packets; i++ {
		if i%10 == 0 {
			<-tick.C
		}
		if err := p.Write(1, uint32(i*90), true, i%100 == 0, payload); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-last:
	case <-time.After(10 * time.Second):
	}
	if n := got.Load(); n != packets+1 {
		t.Errorf("beside a stalled reader another got %d of %d packets", n, packets+1)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	b.target.Closed(p)
}

// read plays url's first track over TCP until the test ends.
func read(t *testing.T, url string, packet func(*rtp.Packet)) {
	t.Helper()
	u, err := base.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	tcp := gortsplib.ProtocolTCP
	c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Protocol: &tcp}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	d, _, err := c.Describe(u)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetupAll(d.BaseURL, d.Medias); err != nil {
		t.Fatal(err)
	}
	c.OnPacketRTP(d.Medias[0], d.Medias[0].Formats[0], packet)
	if _, err := c.Play(nil); err != nil {
		t.Fatal(err)
	}
}

// stall asks for the stream's first track and does not read it; what comes is behind the
// reader that it returns.
func stall(t *testing.T, c net.Conn, url string) *bufio.Reader {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	session := ""
	for i, req := range []string{
		"SETUP " + url + "/trackID=0 RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
		"PLAY " + url + " RTSP/1.0\r\n",
	} {
		fmt.Fprintf(c, "%sCSeq: %d\r\n%s\r\n", req, i+1, session)
		for first := true; ; first = false {
			line, err := r.ReadString('\n')
			if err != nil || first && !strings.HasPrefix(line, "RTSP/1.0 200") {
				t.Fatalf("%s: %s (%v)", strings.Fields(req)[0], line, err)
			}
			if id, ok := strings.CutPrefix(line, "Session: "); ok {
				id, _, _ = strings.Cut(strings.TrimSpace(id), ";")
				session = "Session: " + id + "\r\n"
			}
			if strings.TrimSpace(line) == "" {
				break
			}
		}
	}
	return r
}
