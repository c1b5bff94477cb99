// Package golden compares what the code gives with the files and pages that show it.
// `go test PACKAGE -rewrite` writes the files anew; pages are written by people.
package golden

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write golden files with what the code gives, instead of comparing")

// Compare makes sure that file holds just got, or writes it.
func Compare(t testing.TB, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := Read(t, file); got != want {
		t.Errorf("%s: %s", file, firstDifference(got, want))
	}
}

// Shown makes sure that page, a text for people, shows got as it is.
func Shown(t testing.TB, page, got string) {
	t.Helper()
	if !strings.Contains(Read(t, page), got) {
		t.Errorf("%s does not show this as it is:\n%s", page, got)
	}
}

// Read returns what stands in file.
func Read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d: got  %s\nline %d: want %s", i+1, g[i], i+1, append(w, "(end)")[min(i, len(w))])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}
