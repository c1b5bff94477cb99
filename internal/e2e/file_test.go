package e2e

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/internal/pty"
)

// testClip makes a file of a moving picture and a tone.
func testClip(t testing.TB, name string, seconds string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	to(t, time.Minute, "ffmpeg", append(clipArgs(seconds), path)...)
	return path
}

func clipArgs(seconds string) []string {
	return []string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", seconds,
		"-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "25", "-c:a", "libopus"}
}

// On a terminal a bar shows how far a file has played, from --start on; lines stay lines.
func TestFileOnATerminal(t *testing.T) {
	t.Parallel()
	ours, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	cmd := exec.Command(wfnode, append([]string{"speak", "--input", "file:" + testClip(t, "clip.mkv", "4"), "--start", "1s", "--bootstrap", "none"}, local...)...)
	cmd.Env = append(os.Environ(), "WFNODE_HOME="+filepath.Join(t.TempDir(), "home"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	terminal.Close()
	late := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer late.Stop()
	b, _ := io.ReadAll(ours) // ends, with EIO, when the last program has closed the terminal
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(began); took < 2900*time.Millisecond {
		t.Errorf("3 of 4 s were played in %v", took)
	}
	text := string(b)
	bars := regexp.MustCompile(`\[[#-]{30}\] 00:0[1-4] / 00:0[34]`).FindAllString(text, -1)
	if len(bars) < 6 {
		t.Errorf("the bar moved %d times:\n%q", len(bars), text)
	}
	for _, line := range []string{"peer: ", "ticket: waterfall:", "ready"} {
		if !regexp.MustCompile(`(?m)(^|\x1b\[K)` + line).MatchString(strings.ReplaceAll(text, "\r", "\n")) {
			t.Errorf("no line %q:\n%q", line, text)
		}
	}
	if last := text[strings.LastIndex(text, "\r")+1:]; strings.TrimSpace(strings.TrimPrefix(last, "\x1b[K")) != "" {
		t.Errorf("the bar stays behind: %q", last)
	}
}

// `ffmpeg … | wfnode speak --input file:-` plays what comes, as lines, and ends with it.
func TestFileFromAPipe(t *testing.T) {
	t.Parallel()
	ffmpeg := exec.Command(need.Program(t, "ffmpeg"), append(append([]string{"-re"}, clipArgs("6")...), "-f", "matroska", "-")...)
	pipe, err := ffmpeg.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := run(t, "bootstrap", options{}, append([]string{"bootstrap"}, local...)...)
	w := &network{t: t, bootstrap: bootstrap}
	if err := ffmpeg.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ffmpeg.Process.Kill()
		ffmpeg.Wait()
	}()
	w.speaker = run(t, "speaker", options{stdin: pipe}, w.args("speak", "--input", "file:-")...)
	w.join().Live(10 * time.Second)
	if code := w.speaker.Wait(20 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if errs := w.speaker.stderr.String(); strings.Contains(errs, "\x1b") || strings.Contains(errs, "\r") {
		t.Errorf("a bar where there is no terminal: %q", errs)
	}
	eventually(t, 10*time.Second, "the listener's stream is over", func() error {
		st, err := w.listeners[0].Status()
		if err != nil {
			return err
		}
		for _, s := range st.Rooms[0].Streams {
			if s.State != "ended" {
				return errNotYet
			}
		}
		return nil
	})
}
