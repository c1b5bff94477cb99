package e2e

import (
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What people get wrong ends in one line that says so and what to do, with the exit
// code of its kind (1 failed, 2 bad usage), and never in a stack trace.
func TestMistakes(t *testing.T) {
	busyTCP, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busyTCP.Close()
	busyUDP, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busyUDP.Close()
	udpPort := busyUDP.LocalAddr().String()[len("127.0.0.1:"):]

	hub := run(t, "bootstrap", options{}, append([]string{"bootstrap"}, local...)...)
	address, hubPeer := hub.Line("address"), hub.Line("peer")
	inUse := options{home: hub.Home}
	// A well-formed address where nobody listens.
	nobody := "/ip4/127.0.0.1/udp/9/quic-v1/p2p/" + hubPeer

	for _, c := range []struct {
		name string
		o    options
		args []string
		code int
		says string // regular expression
	}{
		{"a ticket with a slip", options{}, []string{"join", "waterfall:12D3KooWnonsense", "--bootstrap", address}, 2, `(?i)(ticket|room)`},
		{"no ticket at all", options{}, []string{"join"}, 2, `(?i)room`},
		{"a peer that is no room", options{}, []string{"join", hubPeer, "--bootstrap", address}, 1, `(?i)no.*room|not.*room`},
		{"a bad multiaddr", options{}, []string{"join", hubPeer, "--bootstrap", "127.0.0.1:4001"}, 2, `127\.0\.0\.1:4001`},
		{"an address without peer", options{}, []string{"join", hubPeer, "--bootstrap", "/ip4/127.0.0.1/udp/4001/quic-v1"}, 2, `p2p`},
		{"no reachable bootstrap", options{}, []string{"join", hubPeer, "--bootstrap", nobody}, 1, `(?i)bootstrap|reach`},
		{"the console's port in use", options{}, []string{"bootstrap", "--console", busyTCP.Addr().String()}, 1, `(?i)in use`},
		{"the UDP port in use", options{}, []string{"bootstrap", "--listen", "/ip4/127.0.0.1/udp/" + udpPort + "/quic-v1"}, 1, `(?i)in use`},
		{"a home in use", inUse, []string{"bootstrap"}, 1, `(?i)--home`},
		{"an unknown flag", options{}, []string{"join", "--nonsense"}, 2, `nonsense`},
		{"an unknown input", options{}, []string{"speak", "--input", "carrier-pigeon"}, 2, `carrier-pigeon`},
		{"a bad rate", options{}, []string{"join", hubPeer, "--bootstrap", address, "--uplink", "fast"}, 2, `uplink`},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args
			for i := 0; i < len(local); i++ { // what the case does not set itself
				flag, _, joined := strings.Cut(local[i], "=")
				value := !joined && i+1 < len(local)
				if !contains(c.args, flag) {
					args = append(args, local[i])
					if value {
						args = append(args, local[i+1])
					}
				}
				if value {
					i++
				}
			}
			code, _, stderr := command(t, 25*time.Second, c.o, args...)
			if code != c.code {
				t.Errorf("exit code %d, not %d", code, c.code)
			}
			said := strings.TrimSpace(stderr)
			if !regexp.MustCompile(c.says).MatchString(said) || strings.Count(said, "\n") > 2 {
				t.Errorf("it said:\n%s", said)
			}
			t.Log(said)
		})
	}
}

func contains(args []string, flag string) bool {
	for _, a := range args {
		if a == flag || strings.HasPrefix(a, flag+"=") {
			return true
		}
	}
	return false
}

// Media that can't pass is refused with the option to change, and the speaker goes on:
// the next try with that option is heard.
func TestRefusedMedia(t *testing.T) {
	w := launch(t, options{}, "--input", "rtsp", "--rtsp", "127.0.0.1:0")
	url := w.speaker.Line("rtsp")
	h264 := []string{"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "30"}
	for _, c := range []struct {
		name    string
		encoder []string
		says    string
	}{
		{"B-frames", []string{"-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "30", "-c:a", "libopus"}, `-bf 0`},
		{"AAC", append(h264, "-c:a", "aac"), `-c:a libopus`},
		{"a codec that browsers can't play", []string{"-c:v", "mpeg4", "-c:a", "libopus"}, `(?i)libx264|h\.?264`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := publish(t, url, c.encoder...)
			says := regexp.MustCompile(c.says)
			eventually(t, 10*time.Second, "the speaker says what to change", func() error {
				if !says.MatchString(w.speaker.stderr.String()) {
					return errNotYet
				}
				return nil
			})
			select {
			case <-p.ended:
			case <-time.After(10 * time.Second):
				t.Error("ffmpeg is still sending")
			}
		})
	}
	publish(t, url)
	w.speaker.Live(10 * time.Second)
}

// A room without a speaker is waited in, and the stream is there once somebody speaks;
// the room's creator need not be online for it.
func TestRoomWithoutSpeaker(t *testing.T) {
	hub := run(t, "bootstrap", options{}, append([]string{"bootstrap"}, local...)...)
	creator := options{home: filepath.Join(t.TempDir(), "creator")}
	code, stdout, stderr := command(t, 15*time.Second, creator, "create", "--name", "later", "--anyone-speaks", "--bootstrap", hub.Line("address"))
	if code != 0 {
		t.Fatalf("create: %d\n%s", code, stderr)
	}
	ticket := regexp.MustCompile(`(?m)^ticket: *(\S+)`).FindStringSubmatch(stdout)
	if ticket == nil {
		t.Fatalf("create printed no ticket:\n%s", stdout)
	}

	w := &network{t: t, bootstrap: hub}
	listener := run(t, "listener", options{}, append([]string{"join", ticket[1]}, local...)...)
	w.listeners = append(w.listeners, listener)
	listener.Line("ready")
	eventually(t, 15*time.Second, "the listener says that it waits", func() error {
		if !regexp.MustCompile(`(?i)wait`).MatchString(listener.stdout.String() + listener.stderr.String()) {
			return errNotYet
		}
		return nil
	})
	w.speaker = run(t, "speaker", options{}, append([]string{"speak", ticket[1], "--input", "test"}, local...)...)
	listener.Live(15 * time.Second)
	w.checkPaths()
}

// A STUN server that does not answer costs a join 300 ms at most.
func TestDeadSTUN(t *testing.T) {
	dead, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	w := launch(t, options{}, "--input", "test")
	w.speaker.Live(10 * time.Second)
	n := run(t, "listener", options{}, "join", w.speaker.Line("room"), "--bootstrap", w.bootstrap.Line("address"),
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false", "--console", "127.0.0.1:0", "--stun", dead.LocalAddr().String())
	s := n.When(10*time.Second, "showing a frame", hasFrame)
	t.Logf("first frame after %.0f ms", *s.Join.FirstFrameMS)
	if *s.Join.FirstFrameMS > 1500 {
		t.Errorf("first frame after %.0f ms", *s.Join.FirstFrameMS)
	}
}

// A listener whose parent is gone for good with the whole stream says so and goes on waiting.
func TestSpeakerComesBack(t *testing.T) {
	home := options{home: filepath.Join(t.TempDir(), "speaker")}
	hub := run(t, "bootstrap", options{}, append([]string{"bootstrap"}, local...)...)
	w := &network{t: t, bootstrap: hub}
	code, _, stderr := command(t, 15*time.Second, home, "create", "--name", "show", "--bootstrap", hub.Line("address"))
	if code != 0 {
		t.Fatalf("create: %d\n%s", code, stderr)
	}
	w.speaker = run(t, "speaker", home, w.args("speak", "show", "--input", "test")...)
	n := w.join()
	first := n.Live(15 * time.Second)
	w.speaker.Kill()
	w.speaker = run(t, "speaker again", home, w.args("speak", "show", "--input", "test")...)
	eventually(t, 40*time.Second, "the listener hears the new stream", func() error {
		doc, err := n.Status()
		if err != nil {
			return err
		}
		for _, s := range doc.Rooms[0].Streams {
			if s.ID != first.ID && s.State == "live" && received(s) > 0 {
				return nil
			}
		}
		return errNotYet
	})
}
