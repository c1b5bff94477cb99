package main

import (
	"strings"
	"testing"
)

// A tree taller or wider than the terminal is cut, so that it can be drawn over.
func TestDrawingFitsTheTerminal(t *testing.T) {
	tall := strings.Repeat("a node of the tree\n", 50)
	for _, c := range []struct {
		text          string
		width, height int
		want          string
	}{
		{"one\ntwo\n", 80, 24, "one\ntwo\n"},
		{"one\ntwo\nthree\n", 80, 2, "one\n… and 2 lines more\n"},
		{"├─ listener\n", 8, 24, "├─ lis…\n"},
		{"one\ntwo\n", 0, 0, "…\n"},
	} {
		if got := fit(c.text, c.width, c.height); got != c.want {
			t.Errorf("%q in %dx%d: %q, want %q", c.text, c.width, c.height, got, c.want)
		}
	}
	var out strings.Builder
	height := 10
	s := &screen{w: &out, size: func() (int, int, bool) { return 40, height, true }}
	s.show(drawing{summary: "layers", tree: tall})
	if n := strings.Count(out.String(), "\n"); n != height-1 {
		t.Errorf("%d lines drawn on a terminal of %d", n, height)
	}
	out.Reset()
	height = 5 // the window was made smaller meanwhile
	s.show(drawing{summary: "layers", tree: tall})
	if got := out.String(); !strings.HasPrefix(got, "\x1b[4A\r\x1b[J") || strings.Count(got, "\n") != height-1 {
		t.Errorf("drawn over with %q", got)
	}
}
