package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen shows a drawing: redrawn in place on a terminal, elsewhere as a line whenever
// its summary changes. A nil screen shows nothing.
type screen struct {
	w     io.Writer
	size  func() (width, height int, ok bool) // of the terminal; not ok: there is none
	lines int                                 // drawn, to be drawn over
	last  drawing
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w, size: func() (int, int, bool) { return 0, 0, false }}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.size = func() (int, int, bool) {
			width, height, err := term.GetSize(int(f.Fd()))
			return width, height, err == nil
		}
	}
	return s
}

func (s *screen) show(d drawing) {
	if s == nil {
		return
	}
	width, height, terminal := s.size()
	switch {
	case terminal:
		s.clear()
		text := fit(d.summary+"\n"+d.tree, width, height-1)
		io.WriteString(s.w, text)
		s.lines = strings.Count(text, "\n")
	case d.summary != s.last.summary:
		fmt.Fprintln(s.w, d.summary)
		if d.full {
			io.WriteString(s.w, d.tree)
		}
	}
	s.last = d
}

// fit cuts text down to what a terminal shows without scrolling or wrapping: lines that
// have left the screen can't be drawn over. One column stays free, since some terminals
// wrap once the last is written.
func fit(text string, width, height int) string {
	width, height = max(width-1, 1), max(height, 1)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if over := len(lines) - height; over > 0 {
		lines = append(lines[:height-1], fmt.Sprintf("… and %d lines more", over+1))
	}
	for i, l := range lines {
		if utf8.RuneCountInString(l) > width {
			lines[i] = string([]rune(l)[:width-1]) + "…"
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// clear removes what was drawn last. A terminal that was made lower since has kept
// only its last lines.
func (s *screen) clear() {
	if _, height, ok := s.size(); ok && s.lines > 0 {
		fmt.Fprintf(s.w, "\x1b[%dA\r\x1b[J", min(s.lines, max(height-1, 1)))
	}
	s.lines = 0
}

// below writes what stays, above a tree that is drawn again.
func (s *screen) below(write func()) {
	if s != nil {
		s.clear()
	}
	write()
}
