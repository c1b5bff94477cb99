package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
)

// example is commands of the documentation that are run, with what a person fills in
// filled in. Several run beside each other: each is started when the one before is ready.
type example struct {
	commands []string
	fill     []string // further replacements, old and new in turn
	home     string   // "speaker": on the speaker's home; else a fresh one
	says     string   // what the first prints on success, a regular expression; all are interrupted then. Empty: the last ends by itself
}

var examples = []example{
	{commands: []string{`wfnode bootstrap --listen /ip4/0.0.0.0/udp/4001/quic-v1`}, fill: []string{"0.0.0.0/udp/4001", "127.0.0.1/udp/0"}, says: `^ready`},
	{commands: []string{`wfnode bootstrap`}, fill: []string{"bootstrap", "bootstrap --listen /ip4/127.0.0.1/udp/0/quic-v1"}, says: `^ready`},
	{commands: []string{`wfnode speak --bootstrap ADDRESS --input test`}, says: `^live: `},
	{commands: []string{`wfnode join 'waterfall:…'`}, says: `^live: `},
	{commands: []string{
		`wfnode speak --bootstrap ADDRESS --input rtsp`,
		`ffmpeg -re -i film.mp4 -c:v libx264 -tune zerolatency -g 60 -c:a libopus -ar 48000 -f rtsp rtsp://127.0.0.1:8554/current`,
	}, fill: []string{"--input rtsp", "--input rtsp --rtsp 127.0.0.1:8554"}, says: `^live: `},
	{commands: []string{`wfnode speak --input whip …`}, fill: []string{"…", "--bootstrap ADDRESS"}, says: `^ready`},
	{commands: []string{`wfnode speak --bootstrap ADDRESS --input file:talk.mp4 --loop`}, says: `^live: `},
	{commands: []string{`wfnode speak --input file:PATH [--loop] [--start 1m30s]`}, fill: []string{"PATH", "talk.mp4", "[", "", "]", "", "1m30s", "1s"}, says: `^live: `},
	{commands: []string{`ffmpeg … -f mpegts - | wfnode speak --bootstrap ADDRESS --input file:-`}, fill: []string{"…", testPicture + " -c:v libx264 -tune zerolatency -g 30 -c:a libopus"}, says: `^live: `},
	{commands: []string{`ffmpeg … -c:v libx264 -bf 0 -c:a libopus -f matroska - | wfnode speak --input file:-`}, fill: []string{"…", testPicture, "-bf 0", "-bf 0 -g 30"}, says: `^live: `},
	{commands: []string{
		`wfnode join --rtsp 127.0.0.1:8555 'waterfall:…'`,
		`mpv rtsp://127.0.0.1:8555/current`,
	}, fill: []string{"mpv ", "mpv --no-config --vo=null --ao=null --rtsp-transport=tcp --frames=30 "}},
	{commands: []string{`wfnode join --record talk.mkv 'waterfall:…'`}, fill: []string{"talk.mkv", "new.mkv"}, says: `^live: `},
	{commands: []string{`wfnode create --name friends --bootstrap ADDRESS --password-generate`}},
	{commands: []string{`wfnode create --name board --bootstrap ADDRESS --pgp-recipient alice.asc --pgp-recipient bob.asc`}},
	{commands: []string{`wfnode join --password-file secret.txt 'waterfall:…'`}, fill: []string{"'waterfall:…'", "'FRIENDS'"}, says: `^room: `},
	{commands: []string{`wfnode join --gpg 'waterfall:…'`}, fill: []string{"'waterfall:…'", "'BOARD'"}, says: `^room: `},
	{commands: []string{`wfnode room admit|remove|list|password|speaker`}, fill: []string{`wfnode room admit|remove|list|password|speaker`, `set -e; for c in admit remove list password speaker; do wfnode room $c --help; done`}},
	{commands: []string{`wfnode create`}},
	{commands: []string{`wfnode run`}, says: `^ready`},
	{commands: []string{`wfnode room list`}},
	{commands: []string{`wfnode room members ROOM`}, fill: []string{"ROOM", "'waterfall:…'"}},
	{commands: []string{`wfnode help COMMAND`}, fill: []string{"COMMAND", "join"}},
	{commands: []string{`wfnode config init`}},
	{commands: []string{`wfnode status`}, home: "speaker"},
	{commands: []string{`wfnode top`}, home: "speaker"},
	{commands: []string{`wfnode doctor`}},
	{commands: []string{`wfnode completion bash`}},
	{commands: []string{`wfnode bench`}, fill: []string{"bench", "bench --children 2 --for 1s --hops 2 --joins 1"}},
}

// notRun are the commands of the documentation that are not run here, and why.
var notRun = map[string]string{
	`systemctl enable --now wfnode-bootstrap`: "installs a service; TestServiceUnit looks at the unit",
	`wfnode demo --nodes 12 --for 30s --json`: "TestDemoOfTwelve runs it",
	`wfnode demo`:                  "TestDemoOfTwelve runs it with an end",
	`ffmpeg -xerror`:               "no whole command: names how recordings are checked",
	`wfnode bench --only overload`: "a minute of two cores; TestOverload of stream/linkbench runs the same with a few children",
	`wfnode join … --pprof`:        "no whole command: names how a profile was taken",
}

// testPicture is what ffmpeg makes where a document leaves the input to the reader.
const testPicture = `-v error -re -f lavfi -i testsrc=size=320x180:rate=30 -f lavfi -i sine`

// stage is a network in which examples are run.
type stage struct {
	w              *network
	dir            string // where they run, with the files that they name
	friends, board string // tickets of closed rooms
	env            []string
}

func TestExamples(t *testing.T) {
	s := newStage(t)
	for _, e := range examples {
		t.Run(strings.ReplaceAll(e.commands[0], "/", "∕"), func(t *testing.T) { s.play(t, e) })
	}
}

// newStage is a bootstrap node, a speaker, two closed rooms, and the files that the
// examples name.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{dir: t.TempDir()}
	gnupg := filepath.Join(s.dir, "gnupg")
	if err := os.Mkdir(gnupg, 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = []string{
		"PATH=" + filepath.Dir(wfnode) + ":" + os.Getenv("PATH"), "GNUPGHOME=" + gnupg,
		"WFNODE_LISTEN=/ip4/127.0.0.1/udp/0/quic-v1", "WFNODE_MDNS=false", "WFNODE_STUN=none", "WFNODE_NTP=none", "WFNODE_CONSOLE=127.0.0.1:0",
	}
	s.shell(t, need.Program(t, "gpg")+` --version >/dev/null
for who in alice bob; do
	gpg --batch --quiet --passphrase '' --quick-gen-key $who@example.org default default never
	gpg --armor --export $who@example.org >$who.asc
done
echo 'correct horse battery staple' >secret.txt`)
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", gnupg, "--kill", "all").Run() })
	root, err := need.Module()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"film.mp4", "talk.mp4"} {
		if err := os.Symlink(filepath.Join(root, "stream", "ingest", "clip", "clip.mp4"), filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.w = launch(t, options{}, "--input", "test")
	s.w.speaker.Live(15 * time.Second)
	s.friends = s.ticket(t, `wfnode create --name f --bootstrap ADDRESS --password-file secret.txt`)
	s.board = s.ticket(t, `wfnode create --name b --bootstrap ADDRESS --pgp-recipient alice.asc`)
	return s
}

// shell runs a script among the examples' files.
func (s *stage) shell(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = s.dir, append(append(os.Environ(), "WFNODE_HOME="+filepath.Join(t.TempDir(), "home")), s.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// ticket makes a room and returns its ticket.
func (s *stage) ticket(t *testing.T, create string) string {
	t.Helper()
	out := s.shell(t, s.filled(create, nil))
	_, after, ok := strings.Cut(out, "ticket: ")
	if !ok {
		t.Fatalf("no ticket:\n%s", out)
	}
	return strings.TrimSpace(after)
}

// filled is a command with what a person would put there.
func (s *stage) filled(command string, more []string) string {
	command = strings.NewReplacer(more...).Replace(command)
	return strings.NewReplacer(
		"ADDRESS", s.w.bootstrap.Line("address"), "waterfall:…", s.w.speaker.Line("ticket"),
		"FRIENDS", s.friends, "BOARD", s.board,
	).Replace(command)
}

// first is what the first command says before the second is typed.
func (e example) first() string {
	if strings.Contains(e.commands[0], "wfnode join") {
		return "live"
	}
	return "ready"
}

func (s *stage) play(t *testing.T, e example) {
	o := options{shell: true, dir: s.dir, env: s.env}
	if e.home == "speaker" {
		o.home = s.w.speaker.Home
	}
	var all []*Node
	for _, c := range e.commands {
		if len(all) > 0 {
			all[0].Line(e.first())
		}
		all = append(all, run(t, c, o, s.filled(c, e.fill)))
	}
	first, last := all[0], all[len(all)-1]
	if e.says == "" {
		if code := last.Wait(30 * time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
		return
	}
	re := regexp.MustCompile("(?m)" + e.says)
	eventually(t, 20*time.Second, "says "+e.says, func() error {
		if !re.MatchString(first.stdout.String()) {
			return errNotYet
		}
		return nil
	})
	if code := first.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
