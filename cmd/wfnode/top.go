package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/watergy/waterfall/node"
)

// topPause is how often top looks at the node.
const topPause = 500 * time.Millisecond

func topCommand() *cobra.Command {
	var at consoleFlags
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show the running node and the tree, live",
		Long: `Show what the node that runs on this home is doing, and the tree of its stream as far
as it is known here, twice a second. Keys: q ends, tab goes to the next stream, arrows
and page keys scroll. Where standard output is no terminal, one picture is printed.`,
		Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, token, err := at.find(cmd)
			if err != nil {
				return err
			}
			t := top{source: topSource{base, token}}
			first := t.source.look(cmd.Context(), time.Now())
			if first.err != nil {
				return first.err
			}
			f, ok := cmd.OutOrStdout().(*os.File)
			if !ok || !term.IsTerminal(int(f.Fd())) {
				t.take(first)
				_, err := fmt.Fprint(cmd.OutOrStdout(), drawTop(t.now, t.before, t.stream, false))
				return err
			}
			return t.run(cmd.Context(), f, first)
		},
	}
	at.add(cmd.Flags())
	return cmd
}

// topSource is where top looks.
type topSource struct {
	base  *url.URL
	token string
}

// topLook is what top has seen at one time.
type topLook struct {
	at     time.Time
	status node.Status
	charts []node.StreamChart
	err    error
}

func (s topSource) look(ctx context.Context, now time.Time) topLook {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	l := topLook{at: now}
	var trees struct{ Streams []node.StreamChart }
	for _, d := range []struct {
		path string
		into any
	}{{"api/v1/status", &l.status}, {"api/v1/tree", &trees}} {
		b, err := getDocument(ctx, http.DefaultClient, s.base, s.token, d.path)
		if err != nil {
			l.err = err
			return l
		}
		if err := json.Unmarshal(b, d.into); err != nil {
			l.err = fmt.Errorf("%s from %s: %w", d.path, s.base, err)
			return l
		}
	}
	l.charts = trees.Streams
	return l
}

// top is what top shows; its loop owns it.
type top struct {
	source      topSource
	now, before topLook // before is a few seconds old, for rates
	older       []topLook
	stream      int // which is shown
	scroll      int
	height      int // of the terminal
}

// topRate is the time over which top reckons rates.
const topRate = 5 * time.Second

func (t *top) take(l topLook) {
	t.older = append(t.older, l)
	for len(t.older) > 1 && l.at.Sub(t.older[0].at) > topRate {
		t.older = t.older[1:]
	}
	t.now, t.before = l, t.older[0]
}

// Escape sequences (ECMA-48, xterm): another screen, without a cursor; back; from the
// top left on, clearing what is left of each line and below.
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l"
	screenClose = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineEnd     = "\x1b[K\r\n"
	screenEnd   = "\x1b[K\x1b[J"
)

// run shows the tree on a terminal until the person has seen enough.
func (t *top) run(ctx context.Context, out *os.File, first topLook) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := int(os.Stdin.Fd())
	keys := make(chan string)
	if term.IsTerminal(in) {
		before, err := term.MakeRaw(in)
		if err != nil {
			return fmt.Errorf("read keys: %w", err)
		}
		defer term.Restore(in, before)
		go readKeys(ctx, os.Stdin, keys) // ends with the process: a read can't be given up
	}
	io.WriteString(out, screenOpen)
	defer io.WriteString(out, screenClose)
	looks := make(chan topLook, 1)
	looks <- first
	timer := time.NewTimer(topPause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-looks:
			if l.err != nil { // the last picture stays, with what is wrong above it
				t.now.err = l.err
			} else {
				t.take(l)
			}
			timer.Reset(topPause)
		case <-timer.C:
			go func() { looks <- t.source.look(ctx, time.Now()) }() // there is room for one, and one is under way at most
		case k := <-keys:
			if t.press(k) {
				return nil
			}
		}
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return fmt.Errorf("size of the terminal: %w", err)
		}
		t.height = height
		io.WriteString(out, screenHome+strings.ReplaceAll(t.page(width, height), "\n", lineEnd)+screenEnd)
	}
}

// page is what a terminal of this size shows.
func (t *top) page(width, height int) string {
	text := drawTop(t.now, t.before, t.stream, true)
	if t.now.err != nil {
		msg, _ := splitHint(t.now.err.Error())
		text = msg + "\n" + text
	}
	var page string
	page, t.scroll = window(text, width, height-1, t.scroll)
	keys := "q ends"
	if streamCount(t.now.status) > 1 {
		keys += ", tab goes to the next stream"
	}
	if more := strings.Count(text, "\n") - strings.Count(page, "\n") - 1; more > 0 {
		keys += fmt.Sprintf(", ↑ and ↓ scroll: %d more lines", more)
	}
	return page + "\n" + colourDim + cutLine(keys, width) + colourOff
}

func streamCount(st node.Status) (n int) {
	for _, r := range st.Rooms {
		n += len(r.Streams)
	}
	return n
}

// press does what a key says; true ends top.
func (t *top) press(key string) bool {
	switch key {
	case "q", "\x1b", "\x03":
		return true
	case "\t":
		t.stream++
		t.scroll = 0
	case "k", "\x1b[A":
		t.scroll--
	case "j", "\x1b[B":
		t.scroll++
	case "\x1b[5~":
		t.scroll -= t.height / 2
	case " ", "\x1b[6~":
		t.scroll += t.height / 2
	}
	return false
}

// readKeys delivers what is typed; a terminal sends each key in one piece.
func readKeys(ctx context.Context, r io.Reader, keys chan<- string) {
	buf := make([]byte, 64)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		select {
		case keys <- string(buf[:n]):
		case <-ctx.Done():
			return
		}
	}
}
