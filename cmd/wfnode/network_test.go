package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testCrew runs nodes as the demo does.
func testCrew(t *testing.T) *crew {
	t.Helper()
	c, err := newCrew(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if c.exe, err = exec.LookPath("wfnode"); err != nil { // TestMain put it there
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

// ready runs a node and waits until it is ready.
func ready(t *testing.T, c *crew, name, command string, args ...string) *proc {
	t.Helper()
	p, err := c.run(name, command, args...)
	if err != nil {
		t.Fatal(err)
	}
	await(t, c, func() bool { return p.ready })
	return p
}

// await takes what the nodes say until done.
func await(t *testing.T, c *crew, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !done() {
		select {
		case ev := <-c.events:
			if ev.ended {
				t.Fatalf("%s has ended: %s", ev.proc.name, ev.proc.lastWords())
			}
			ev.proc.note(ev)
		case <-deadline:
			t.Fatal("not within 20 s")
		}
	}
}

// A whole small network, and what people do to it.
func TestNetwork(t *testing.T) {
	c := testCrew(t)
	boot := ready(t, c, "bootstrap", "bootstrap")
	speaker := ready(t, c, "speaker", "speak", "--name", "talk", "--bootstrap", boot.address)
	listener := ready(t, c, "listener", "join", speaker.ticket)
	await(t, c, func() bool { return listener.live })

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	room := strings.TrimPrefix(strings.Split(speaker.ticket, "?")[0], "waterfall:")
	local := []string{"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false"}
	fresh := append(local, "--stun", "none", "--console", "127.0.0.1:0")
	for _, tc := range []struct {
		name string
		home string
		args []string
		code int
		says string // regular expression, of both outputs
	}{
		{"members", "x", append(local, "room", "members", speaker.ticket), 0,
			`(?s)(` + speaker.peer + `  speaker|` + listener.peer + `  listener).*(` + speaker.peer + `  speaker|` + listener.peer + `  listener)`},
		{"status of the node on a home", "listener", []string{"status"}, 0, `(?s)peer: ` + listener.peer + `.*live, listener in layer 1`},
		{"status document", "listener", []string{"status", "--json"}, 0, `"peer_id": "` + listener.peer},
		{"a home in use", "listener", append(fresh, "join", speaker.ticket), 1, `another node \(PID \d+\) is running.*\nhint: .*--home`},
		{"a node that is no room", "y", append(fresh, "join", listener.peer, "--bootstrap", boot.address), 1, listener.peer + ` is no room.*\nhint: `},
		{"a room of others", "z", append(fresh, "speak", room, "--bootstrap", boot.address), 3, `is not a speaker of room "talk"\nhint: `},
		{"the console's port in use", "w", append(local, "--stun", "none", "join", speaker.ticket, "--console", busy.Addr().String()), 1, `address already in use\nhint: .*--console`},
		{"a console for everybody", "w", append(local, "--stun", "none", "join", speaker.ticket, "--console", "0.0.0.0:0"), 2, `needs a token\nhint: .*--token-file`},
		{"RTSP's port in use", "w", append(fresh, "join", speaker.ticket, "--rtsp", busy.Addr().String()), 1, `address already in use\nhint: .*--rtsp`},
		{"a recording that is there", "w", append(fresh, "join", speaker.ticket, "--record", "network_test.go.mkv/x.mkv"), 2, `no such directory\nhint: `},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, c.exe, append(tc.args, "--home", demoHome(c.dir, tc.home))...)
			out, err := cmd.CombinedOutput()
			code := 0
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != tc.code || !regexp.MustCompile(tc.says).Match(out) {
				t.Errorf("exit code %d, said:\n%s", code, out)
			}
		})
	}

	for path, part := range map[string]string{
		"metrics": `waterfall_stream_live{`, "healthz": "ok", "": `id="video"`,
	} {
		if body := get(t, listener.console+path); !strings.Contains(body, part) {
			t.Errorf("GET /%s has no %s:\n%.300s", path, part, body)
		}
	}

	// Everybody leaves politely within INTERFACE's 3 s.
	start := time.Now()
	c.stop()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("leaving took %v", took)
	}
	for _, p := range []*proc{boot, speaker, listener} {
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s ended with %d: %s", p.name, code, p.lastWords())
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Who was in a room finds back into it when its bootstrap node is dead: another one was met.
func TestRoomSurvivesItsBootstrapNode(t *testing.T) {
	c := testCrew(t)
	first := ready(t, c, "first", "bootstrap")
	second := ready(t, c, "second", "bootstrap", "--bootstrap", first.address)
	speaker := ready(t, c, "speaker", "speak", "--name", "talk", "--bootstrap", first.address)
	listener := ready(t, c, "listener", "join", speaker.ticket)
	await(t, c, func() bool { return listener.live })
	for deadline := time.Now().Add(15 * time.Second); ; {
		st, err := c.status(t.Context(), listener.console)
		if err == nil && st.DHT.Connected >= 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the listener has not met the second bootstrap node")
		}
	}
	end := func(p *proc, sig os.Signal) {
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		for ev := range c.events {
			if ev.ended && ev.proc == p {
				return
			}
			ev.proc.note(ev)
		}
	}
	end(listener, syscall.SIGTERM)
	b, err := os.ReadFile(filepath.Join(demoHome(c.dir, "listener"), "peers"))
	if err != nil || !strings.Contains(string(b), second.peer) {
		t.Fatalf("remembered: %s %v", b, err)
	}
	end(first, syscall.SIGKILL)
	again, err := c.run("listener", "join", speaker.ticket)
	if err != nil {
		t.Fatal(err)
	}
	await(t, c, func() bool { return again.live })
}

// A listener of a room where nobody speaks waits, says so once, and is live when
// somebody does.
func TestWaitingRoom(t *testing.T) {
	c := testCrew(t)
	boot := ready(t, c, "bootstrap", "bootstrap")
	var made bytes.Buffer
	home := demoHome(c.dir, "speaker")
	cmd := exec.Command(c.exe, "create", "--name", "later", "--home", home, "--bootstrap", boot.address,
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false")
	cmd.Stdout = &made
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	ticket := regexp.MustCompile(`(?m)^ticket: (\S+)$`).FindStringSubmatch(made.String())
	if ticket == nil || !strings.Contains(ticket[1], boot.peer) {
		t.Fatalf("create said:\n%s", made.String())
	}
	listener, err := c.run("listener", "join", ticket[1])
	if err != nil {
		t.Fatal(err)
	}
	waiting := 0
	for waiting == 0 {
		select {
		case ev := <-c.events:
			if ev.ended {
				t.Fatalf("%s has ended: %s", ev.proc.name, ev.proc.lastWords())
			}
			ev.proc.note(ev)
			if ev.name == "waiting" {
				waiting++
			}
		case <-time.After(15 * time.Second):
			t.Fatal("the listener does not say that it waits")
		}
	}
	if listener.live {
		t.Error("live with nobody speaking")
	}
	if _, err := c.run("speaker", "speak", "later"); err != nil {
		t.Fatal(err)
	}
	await(t, c, func() bool { return listener.live })
}

// The demo's figures of the status document and the summary agree with what it ran. A
// listener that somebody kills is counted, and is no failure.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("wfnode", "demo", "--nodes", "3", "--for", "8s", "--json")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last, gone := "", false
	for lines := bufio.NewScanner(out); lines.Scan(); last = lines.Text() {
		if strings.HasPrefix(lines.Text(), `{"event":"all_live"`) {
			killListener(t, dir, "listener-2")
		}
		gone = gone || strings.HasPrefix(lines.Text(), `{"event":"gone","gone":"listener 2"`)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the demo ended with %v", err)
	}
	if !gone {
		t.Error("nobody was told that a listener is gone")
	}
	for _, part := range []string{`"nodes":3,"live":2,`, `"layers":[1,2],"lost":0,`, `"killed":1`, `"name":"listener 3"`} {
		if !strings.Contains(last, part) {
			t.Errorf("no %s in the summary %s", part, last)
		}
	}
	if strings.Contains(last, `"all_live_ms":null`) {
		t.Error("never all live")
	}
}

// killListener kills a listener of the demo that has its files below dir.
func killListener(t *testing.T, dir, name string) {
	t.Helper()
	locks, err := filepath.Glob(filepath.Join(dir, "wfnode-demo-*", name, "lock"))
	if err != nil || len(locks) != 1 {
		t.Fatalf("%s has no home below %s: %v", name, dir, err)
	}
	b, err := os.ReadFile(locks[0])
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
