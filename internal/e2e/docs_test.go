package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/watergy/waterfall/internal/need"
)

// programs are the first words by which a command in the documentation is known.
var programs = []string{"wfnode", "make", "go", "ffmpeg", "mpv", "systemctl", "docker", "curl"}

// docCommand is a command as it stands in a document.
type docCommand struct {
	file string
	text string
}

var (
	fence  = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")
	inline = regexp.MustCompile("`([^`]+)`")
	remark = regexp.MustCompile(`\s+# .*`)
)

// docCommands lists the commands of a document: every line of its blocks marked sh, and
// what stands `like this` in its text and begins with a program and more words. It
// complains of commands in blocks that are not marked.
func docCommands(t *testing.T, file, text string) (list []docCommand) {
	t.Helper()
	add := func(line string) {
		line = strings.Join(strings.Fields(remark.ReplaceAllString(line, "")), " ")
		if line != "" {
			list = append(list, docCommand{file, strings.ReplaceAll(line, `\|`, `|`)})
		}
	}
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(m[2]) {
			if m[1] == "sh" {
				add(line)
			} else if m[1] == "" && isCommand(line) {
				t.Errorf("%s: a block with the command %q is not marked sh", file, strings.TrimSpace(line))
			}
		}
	}
	for _, m := range inline.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		if isCommand(m[1]) {
			add(m[1])
		}
	}
	return list
}

// isCommand says whether a text begins with a program that is told to do something.
func isCommand(s string) bool {
	words := strings.Fields(s)
	return len(words) > 1 && slices.Contains(programs, words[0])
}

// documents are the texts for people that hold commands, by their names.
func documents(t *testing.T, root string) map[string]string {
	t.Helper()
	files := []string{filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")}
	more, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(more) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	texts := map[string]string{}
	for _, f := range append(files, more...) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimPrefix(f, root+"/")] = string(b)
	}
	return texts
}

// Every command in the documentation is run by TestExamples, or stands in notRun with the
// reason. Of make and go, whose commands take minutes, the targets, packages, tests and
// flags that they name must be there. An example that no document has any more is an error.
func TestEveryCommandInTheDocs(t *testing.T) {
	root, err := need.Module()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for file, text := range documents(t, root) {
		for _, c := range docCommands(t, file, text) {
			shown[c.text] = true
			var err error
			switch program, _, _ := strings.Cut(c.text, " "); {
			case program == "make":
				err = checkMake(root, c.text)
			case program == "go":
				err = checkGo(root, c.text)
			case !inExamples(c.text) && notRun[c.text] == "":
				err = fmt.Errorf("is in no example (hint: internal/e2e/docs_run_test.go)")
			}
			if err != nil {
				t.Errorf("%s: `%s` %v", c.file, c.text, err)
			}
		}
	}
	for _, e := range examples {
		for _, c := range e.commands {
			if !shown[c] {
				t.Errorf("the example `%s` is in no document", c)
			}
		}
	}
	for c := range notRun {
		if !shown[c] {
			t.Errorf("`%s`, which is not run, is in no document", c)
		}
	}
}

func inExamples(command string) bool {
	return slices.ContainsFunc(examples, func(e example) bool { return slices.Contains(e.commands, command) })
}

// checkMake asks make whether it knows what it is told to do, without doing it.
func checkMake(root, command string) error {
	out, err := exec.Command("sh", "-c", command+" -n --no-print-directory -C "+root).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// checkGo looks for what a go command names: the folders, the tests or benchmarks of
// -run and -bench, and flags of the tests' own.
func checkGo(root, command string) error {
	words := strings.Fields(strings.ReplaceAll(command, "'", ""))
	known := []string{"-run", "-bench", "-benchtime", "-fuzz", "-fuzztime", "-count", "-v", "-args", "-race", "-timeout", "-short"}
	var source string
	for _, w := range words {
		dir, below := strings.CutSuffix(w, "/...")
		if !strings.HasPrefix(w, "./") {
			continue
		}
		found := goFiles(root, dir)
		if found == "" && !below {
			return fmt.Errorf("names %s, where no Go file is", w)
		}
		source += found
	}
	for _, m := range helpers.FindAllStringSubmatch(source, -1) { // they bring flags
		source += goFiles(root, m[1])
	}
	for i, w := range words[1:] {
		switch {
		case !strings.HasPrefix(w, "-"):
		case w == "-run" || w == "-bench":
			// ^$ and such stand for none; a/b for a subtest of a.
			pattern, _, _ := strings.Cut(words[i+2], "/")
			if pattern == "^$" || pattern == "xxx" || pattern == "." {
				continue
			}
			kind := map[string]string{"-run": "(?:Test|Fuzz|Example)", "-bench": "Benchmark"}[w]
			if !anyMatch(regexp.MustCompile(`(?m)^func (`+kind+`\w*)`).FindAllStringSubmatch(source, -1), pattern) {
				return fmt.Errorf("names %s, which matches nothing", pattern)
			}
		case !slices.Contains(known, w) && !strings.Contains(source, `"`+strings.TrimLeft(w, "-")+`"`) && words[1] == "test":
			return fmt.Errorf("has the flag %s, which is not there", w)
		}
	}
	return nil
}

// helpers are the packages of ours that tests import.
var helpers = regexp.MustCompile(`"github.com/watergy/waterfall/(internal/\w+)"`)

// goFiles is the text of a folder's Go files.
func goFiles(root, dir string) (text string) {
	files, _ := filepath.Glob(filepath.Join(root, dir, "*.go"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		text += string(b)
	}
	return text
}

func anyMatch(names [][]string, pattern string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && slices.ContainsFunc(names, func(m []string) bool { return re.MatchString(m[1]) })
}
