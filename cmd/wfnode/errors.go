package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/watergy/waterfall/dht"
)

// Exit codes (INTERFACE).
const (
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

// codedError is an error that decides the exit code.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// usagef is fmt.Errorf for what the person asked for wrongly.
func usagef(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// refusedf is fmt.Errorf for what the room does not allow.
func refusedf(format string, args ...any) error {
	return &codedError{exitRefused, fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	if errors.Is(err, dht.ErrRefused) || errors.Is(err, dht.ErrClosedRoom) {
		return exitRefused
	}
	return exitFailed
}

func isCanceled(err error) bool {
	return err == nil || errors.Is(err, context.Canceled)
}

// splitHint takes "what happened (hint: what to do)" apart, each on one line.
func splitHint(s string) (msg, hint string) {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	i := strings.Index(s, "(hint: ")
	if i < 0 {
		return s, ""
	}
	// A wrapping text may go on after the hint: the bracket that closes it is matched.
	depth, end := 0, len(s)
	for j := i; j < len(s); j++ {
		switch s[j] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			end = j
			break
		}
	}
	hint = s[i+len("(hint: ") : end]
	msg = strings.TrimSpace(s[:i])
	if end < len(s) {
		msg += s[end+1:]
	}
	return msg, hint
}
