package browser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
)

// Firefox is one window of a headless Firefox of its own, driven by its Marionette protocol
// (length-prefixed JSON over TCP; https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html).
// One goroutine uses it.
type Firefox struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	next int
}

// firefoxPrefs: a camera that needs nobody's leave, sound without a click, nothing fetched.
const firefoxPrefs = `
user_pref("marionette.port", 0);
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.autoplay.default", 0);
user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("browser.safebrowsing.downloads.enabled", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("services.settings.server", "data:,#remote-settings-dummy/v1");
`

// OpenFirefox starts Firefox (firefox-esr in Debian; scripts/setup does not install it) and
// opens url.
func OpenFirefox(t testing.TB, url string) *Firefox {
	t.Helper()
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(need.Program(t, "firefox-esr"), "--headless", "--no-remote", "--marionette", "--profile", profile)
	cmd.Env = append(os.Environ(), "HOME="+profile, "MOZ_DISABLE_AUTO_SAFE_MODE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &Firefox{t: t}
	t.Cleanup(func() {
		if f.conn != nil {
			f.conn.Close()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Firefox: %s", out.String())
		}
	})
	f.connect(filepath.Join(profile, "MarionetteActivePort"))
	f.command("WebDriver:NewSession", map[string]any{})
	f.command("WebDriver:SetTimeouts", map[string]any{"script": 20_000})
	f.command("WebDriver:Navigate", map[string]any{"url": url})
	return f
}

// connect waits until Firefox has written the port that it listens on.
func (f *Firefox) connect(file string) {
	f.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for end := time.After(60 * time.Second); ; {
		b, _ := os.ReadFile(file)
		if port := strings.TrimSpace(string(b)); port != "" {
			if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
				f.conn, f.r = conn, bufio.NewReader(conn)
				f.read() // who it is
				return
			}
		}
		select {
		case <-again.C:
		case <-end:
			f.t.Fatal("Firefox does not listen within 60 s")
		}
	}
}

func (f *Firefox) read() []byte {
	f.t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	size, err := f.r.ReadString(':')
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
	if err != nil {
		f.t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(f.r, b); err != nil {
		f.t.Fatal(err)
	}
	return b
}

// command runs one command and returns its result.
func (f *Firefox) command(name string, params any) json.RawMessage {
	f.t.Helper()
	f.next++
	b, err := json.Marshal([]any{0, f.next, name, params})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f.conn, "%d:%s", len(b), b); err != nil {
		f.t.Fatal(err)
	}
	var answer [4]json.RawMessage // 1, number, error, result
	if err := json.Unmarshal(f.read(), &answer); err != nil {
		f.t.Fatal(err)
	}
	if string(answer[2]) != "null" {
		f.t.Fatalf("Firefox: %s: %s", name, answer[2])
	}
	return answer[3]
}

// Script runs the body of an asynchronous function in the page and decodes what it returns
// into v.
func (f *Firefox) Script(js string, v any) {
	f.t.Helper()
	res := f.command("WebDriver:ExecuteAsyncScript", map[string]any{"args": []any{},
		"script": "const done = arguments[arguments.length - 1]; (async () => {" + js + "})().then(v => done({v}), e => done({e: String(e)}));"})
	var got struct {
		Value struct {
			V json.RawMessage
			E string
		}
	}
	if err := json.Unmarshal(res, &got); err != nil {
		f.t.Fatal(err)
	}
	if got.Value.E != "" {
		f.t.Fatalf("Firefox: %s", got.Value.E)
	}
	if err := json.Unmarshal(got.Value.V, v); err != nil {
		f.t.Fatalf("Firefox: %s: %v", got.Value.V, err)
	}
}
