package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// output says what happens on standard output: `name: value` lines, or with --json
// one object a line.
type output struct {
	mu   sync.Mutex
	w    io.Writer // standard output
	errs io.Writer // standard error
	json bool
	bar  bool // a progress bar stands on the terminal's last line
}

func newOutput(cmd *cobra.Command, asJSON bool) *output {
	return &output{w: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), json: asJSON}
}

// warn tells of trouble that the command goes on in spite of: on standard error, with
// --json an event as well.
func (o *output) warn(what string, err error) { o.tell("warning", what+": "+err.Error()) }

// notice tells what a person should know, as warn does.
func (o *output) notice(text string) { o.tell("notice", text) }

func (o *output) tell(kind, text string) {
	msg, hint := splitHint(text)
	if o.json {
		o.say(kind, msg)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wipe()
	fmt.Fprintf(o.errs, "wfnode: %s: %s\n", kind, msg)
	if hint != "" {
		fmt.Fprintln(o.errs, "hint:", hint)
	}
}

// field is a further member of an event's object, and a word of its line.
type field struct {
	name  string
	value any
}

// say tells an event. As text it is `event: value` (or `event`) with the fields in
// brackets; as JSON {"event": event, event: value, fields…}.
func (o *output) say(event, value string, more ...field) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wipe()
	if o.json {
		all := []field{{"event", event}}
		if value != "" {
			all = append(all, field{event, value})
		}
		fmt.Fprintln(o.w, object(append(all, more...)))
		return
	}
	line := event
	if value != "" {
		line += ": " + value
	}
	if len(more) > 0 {
		var words []string
		for _, f := range more {
			words = append(words, fmt.Sprintf("%s %v", f.name, f.value))
		}
		line += " (" + strings.Join(words, ", ") + ")"
	}
	fmt.Fprintln(o.w, line)
}

// progress shows text on the terminal's last line in place of what it showed before;
// empty: nothing any more.
func (o *output) progress(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wipe()
	if text != "" {
		fmt.Fprint(o.errs, text)
		o.bar = true
	}
}

// wipe clears the progress bar's line. The caller holds mu.
func (o *output) wipe() {
	if o.bar {
		fmt.Fprint(o.errs, "\r\033[K")
		o.bar = false
	}
}

// object is a JSON object whose members keep their order.
func object(fields []field) string {
	var b strings.Builder
	for i, f := range fields {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		fmt.Fprintf(&b, "%s%q:%s", sep, f.name, compact(f.value))
	}
	return b.String() + "}"
}

// compact is v as JSON in one line, with & as it is: tickets are full of them.
func compact(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "null"
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// newLog is the program's log on standard error.
func newLog(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %q is not a level (hint: debug, info, warn or error)", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, usagef("--log-format %q is not a format (hint: text or json)", format)
}
