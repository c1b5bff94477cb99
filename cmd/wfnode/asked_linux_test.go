package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/internal/pty"
)

// typed runs wfnode at a terminal. When it asks, answer is typed; when it is ready, Ctrl-C.
func typed(t *testing.T, c *crew, prompt, answer string, args ...string) (out string, code int) {
	t.Helper()
	ours, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	cmd := exec.CommandContext(t.Context(), c.exe, append(append(args, private...), "--no-relay", "--home", demoHome(c.dir, "typed"))...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	press := func(text string) {
		if _, err := ours.WriteString(text); err != nil {
			t.Error(err)
		}
	}
	asked, ready := false, false
	buf := make([]byte, 4<<10)
	for {
		n, err := ours.Read(buf) // fails, with EIO, when the program has ended
		if out += string(buf[:n]); err != nil {
			break
		}
		if !asked && strings.Contains(out, prompt) {
			asked = true
			press(answer + "\n")
		}
		if !ready && strings.Contains(out, "\nready") {
			ready = true
			press("\x03")
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if !asked {
		t.Errorf("nothing was asked:\n%s", out)
	}
	if strings.Contains(out, answer) {
		t.Errorf("the terminal shows %q:\n%s", answer, out)
	}
	return out, cmd.ProcessState.ExitCode()
}

// Passwords and passphrases are asked at the terminal, which does not show them.
func TestAskedAtTheTerminal(t *testing.T) {
	gpg := need.Program(t, "gpg")
	keyring, err := os.MkdirTemp("", "gpg") // the agent's socket must have a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", keyring, "--kill", "all").Run()
		_ = os.RemoveAll(keyring)
	})
	key := func(args ...string) string {
		out, err := exec.Command(gpg, append([]string{"--batch", "--quiet", "--homedir", keyring, "--pinentry-mode", "loopback", "--passphrase", "the key's own phrase"}, args...)...).Output()
		if err != nil {
			t.Fatalf("gpg %q: %v", args, err)
		}
		return string(out)
	}
	key("--quick-gen-key", "dora", "future-default", "default", "never")
	c := testCrew(t)
	boot := ready(t, c, "bootstrap", "bootstrap")
	closed, _ := made(t, c, "--bootstrap", boot.address, "--pgp-recipient", secretFile(t, c, "dora.gpg", key("--export", "dora")))
	locked := secretFile(t, c, "dora.key", key("--armor", "--export-secret-keys", "dora"))
	guarded, password := made(t, c, "--name", "guarded", "--bootstrap", boot.address, "--password-generate")

	const ofKey, ofRoom = "Passphrase of ", "Password of the room: "
	for _, ask := range []struct {
		prompt, answer string
		code           int
		says           string
		args           []string
	}{
		{ofKey, "something else", 3, "the passphrase is wrong", []string{"join", closed, "--pgp-key", locked}},
		{ofKey, "the key's own phrase", 0, "\nready", []string{"join", closed, "--pgp-key", locked}},
		{ofRoom, "something else", 3, "password is wrong", []string{"join", guarded}},
		{ofRoom, password, 0, "\nready", []string{"join", guarded, "--password-file", "-"}},
	} {
		if out, code := typed(t, c, ask.prompt, ask.answer, ask.args...); code != ask.code || !strings.Contains(out, ask.says) || code == 3 && !strings.Contains(out, "hint: ") {
			t.Errorf("%q is answered %q: exit code %d:\n%s", ask.prompt, ask.answer, code, out)
		}
	}
	phrase := secretFile(t, c, "phrase", "the key's own phrase\n")
	ready(t, c, "listener", "join", closed, "--pgp-key", locked, "--pgp-passphrase-file", phrase)
}
