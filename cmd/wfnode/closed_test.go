package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
)

// command runs wfnode on a home of the crew until it ends, and gives all that it said.
func command(t *testing.T, c *crew, home string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.exe, append(args, "--home", demoHome(c.dir, home))...)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

var (
	quiet   = []string{"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--mdns=false"}
	private = append(quiet[:len(quiet):len(quiet)], "--stun", "none", "--console", "none")
)

func secretFile(t *testing.T, c *crew, name, text string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// made makes a room and gives its ticket, and the password that was generated.
func made(t *testing.T, c *crew, args ...string) (ticket, password string) {
	t.Helper()
	out, code := command(t, c, "speaker", append(append([]string{"create", "--name", "talk"}, quiet...), args...)...)
	found := regexp.MustCompile(`(?m)^ticket: (\S+)$`).FindStringSubmatch(out)
	if code != 0 || found == nil {
		t.Fatalf("create ended with %d:\n%s", code, out)
	}
	if p := regexp.MustCompile(`(?m)^password: (\S+)$`).FindStringSubmatch(out); p != nil {
		password = p[1]
	}
	return found[1], password
}

// A password room: the right password gets in, a wrong one and none are refused within
// 2 s, and the password is nowhere to be seen. Changing it sends the listener away.
func TestPasswordRoom(t *testing.T) {
	c := testCrew(t)
	boot := ready(t, c, "bootstrap", "bootstrap")
	ticket, password := made(t, c, "--bootstrap", boot.address, "--password-generate")
	if len(password) < 20 {
		t.Fatalf("the generated password is %q", password)
	}
	speaker := ready(t, c, "speaker", "speak", "talk", "--bootstrap", boot.address)
	listener := ready(t, c, "listener", "join", ticket, "--password-file", secretFile(t, c, "right", password+"\n"))
	await(t, c, func() bool { return listener.live })

	start := time.Now()
	out, code := command(t, c, "x", append([]string{"join", ticket, "--password-file", secretFile(t, c, "wrong", "wrong\n")}, private...)...)
	if took := time.Since(start); code != 3 || !strings.Contains(out, "password is wrong") || !strings.Contains(out, "\nhint: ") || took > 2*time.Second {
		t.Errorf("a wrong password: exit code %d after %v:\n%s", code, took, out)
	}
	out, code = command(t, c, "x", append([]string{"join", ticket}, private...)...)
	if code != 3 || !strings.Contains(out, "--password-file") {
		t.Errorf("without a password: exit code %d:\n%s", code, out)
	}
	for _, p := range []*proc{speaker, listener} {
		if body := get(t, p.console+"api/v1/status"); strings.Contains(body, password) || !strings.Contains(body, `"admission": "password"`) && !strings.Contains(body, `"admission":"password"`) {
			t.Errorf("%s's status shows the password, or not that there is one", p.name)
		}
		if strings.Contains(p.ticket, password) || strings.Contains(strings.Join(p.cmd.Args, " "), password) {
			t.Errorf("%s's ticket or command line shows the password", p.name)
		}
	}
	files, err := filepath.Glob(filepath.Join(demoHome(c.dir, "speaker"), "rooms", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("room files %v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the room's secret has mode %v, %v", info.Mode(), err)
	}
	if b, err := os.ReadFile(files[0]); err != nil || bytes.Contains(b, []byte(password)) {
		t.Errorf("the password itself is kept: %v", err)
	}

	out, code = command(t, c, "speaker", append([]string{"room", "password", "talk", "--password-file", secretFile(t, c, "new", "another horse staple\n")}, quiet...)...)
	if code != 0 || !strings.Contains(out, "epoch: 2") {
		t.Fatalf("room password ended with %d:\n%s", code, out)
	}
	if code := sentAway(t, c, listener); code != 3 {
		t.Errorf("the listener with the old password ended with %d: %s", code, listener.lastWords())
	}
}

// sentAway waits until a process ends by itself.
func sentAway(t *testing.T, c *crew, p *proc) int {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case ev := <-c.events:
			if ev.ended && ev.proc == p {
				return p.cmd.ProcessState.ExitCode()
			}
			if ev.ended {
				t.Fatalf("%s has ended: %s", ev.proc.name, ev.proc.lastWords())
			}
			ev.proc.note(ev)
		case <-deadline:
			t.Fatalf("%s has not ended", p.name)
		}
	}
}

// A PGP room with real gpg: keys as it exports them; one joins by key file, one through
// gpg's agent. Removing the first sends it away, the second goes on; a third is admitted.
func TestPGPRoom(t *testing.T) {
	gpg := need.Program(t, "gpg")
	keyring, err := os.MkdirTemp("", "gpg") // the agent's socket must have a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", keyring)
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", keyring, "--kill", "all").Run()
		_ = os.RemoveAll(keyring)
	})
	c := testCrew(t)
	key := func(args ...string) []byte {
		out, err := exec.Command(gpg, append([]string{"--batch", "--quiet", "--homedir", keyring, "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...).Output()
		if err != nil {
			t.Fatalf("gpg %q: %v", args, err)
		}
		return out
	}
	for _, name := range []string{"ann", "bob", "cleo"} {
		key("--quick-gen-key", name, "default", "default", "never")
	}
	public := func(name string) string {
		return secretFile(t, c, name+".asc", string(key("--armor", "--export", name)))
	}
	private1 := secretFile(t, c, "bob.key", string(key("--export-secret-keys", "bob")))
	cleoKey := secretFile(t, c, "cleo.key", string(key("--export-secret-keys", "cleo")))
	annPublic, bobPublic, cleoPublic := public("ann"), public("bob"), public("cleo")

	boot := ready(t, c, "bootstrap", "bootstrap")
	ticket, _ := made(t, c, "--bootstrap", boot.address, "--pgp-recipient", annPublic, "--pgp-recipient", bobPublic)
	speaker := ready(t, c, "speaker", "speak", "talk", "--bootstrap", boot.address)
	bob := ready(t, c, "bob", "join", ticket, "--pgp-key", private1)
	ann := ready(t, c, "ann", "join", ticket, "--gpg")
	await(t, c, func() bool { return ann.live && bob.live })
	if out, code := command(t, c, "x", append([]string{"join", ticket, "--pgp-key", cleoKey}, private...)...); code != 3 || !strings.Contains(out, "\nhint: ") {
		t.Errorf("a key that is not admitted: exit code %d:\n%s", code, out)
	}
	if out, code := command(t, c, "speaker", "room", "list", "talk"); code != 0 || !strings.Contains(out, "  ann\n") || !strings.Contains(out, "  bob\n") {
		t.Errorf("room list: exit code %d:\n%s", code, out)
	}
	start := time.Now()
	if out, code := command(t, c, "speaker", append([]string{"room", "remove", "talk", "bob"}, quiet...)...); code != 0 {
		t.Fatalf("room remove: exit code %d:\n%s", code, out)
	}
	if code := sentAway(t, c, bob); code != 3 {
		t.Errorf("who was removed ended with %d: %s", code, bob.lastWords())
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("removal took %v", took)
	}
	if out, code := command(t, c, "speaker", append([]string{"room", "admit", "talk", cleoPublic}, quiet...)...); code != 0 {
		t.Fatalf("room admit: exit code %d:\n%s", code, out)
	}
	cleo := ready(t, c, "cleo", "join", ticket, "--pgp-key", cleoKey)
	await(t, c, func() bool { return cleo.live })
	for _, p := range []*proc{speaker, ann, cleo} {
		if body := get(t, p.console+"api/v1/status"); !regexp.MustCompile(`"epoch": ?2`).MatchString(body) || regexp.MustCompile(`"lost": ?[1-9]`).MatchString(body) {
			t.Errorf("%s is not in epoch 2, or has lost packets:\n%s", p.name, body)
		}
	}
}

// Who may speak is what the room's record says, also while somebody does.
func TestSpeakers(t *testing.T) {
	c := testCrew(t)
	boot := ready(t, c, "bootstrap", "bootstrap")
	ticket, _ := made(t, c, "--bootstrap", boot.address)
	id, code := command(t, c, "guest", "id")
	guest := regexp.MustCompile(`12D3Koo\w+`).FindString(id)
	if code != 0 || guest == "" {
		t.Fatalf("id: exit code %d:\n%s", code, id)
	}
	if out, code := command(t, c, "guest", append([]string{"speak", ticket}, private...)...); code != 3 {
		t.Errorf("a guest speaks: exit code %d:\n%s", code, out)
	}
	listener := ready(t, c, "listener", "join", ticket)
	if out, code := command(t, c, "speaker", append([]string{"room", "speaker", "add", "talk", guest}, quiet...)...); code != 0 {
		t.Fatalf("room speaker add: exit code %d:\n%s", code, out)
	}
	speaker := ready(t, c, "guest", "speak", ticket)
	await(t, c, func() bool { return listener.live })
	if out, code := command(t, c, "speaker", append([]string{"room", "speaker", "remove", "talk", guest}, quiet...)...); code != 0 {
		t.Fatalf("room speaker remove: exit code %d:\n%s", code, out)
	}
	if code := sentAway(t, c, speaker); code != 3 {
		t.Errorf("who may no longer speak ended with %d: %s", code, speaker.lastWords())
	}
}
