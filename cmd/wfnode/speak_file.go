package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/watergy/waterfall/stream/ingest"
)

// filePrefix of --input names a file; the path "-" is standard input.
const filePrefix = "file:"

// checkFile finds out before anything runs whether a file could be played.
func checkFile(path string, loop bool, stdin io.Reader) error {
	if path == "" {
		return usagef("--input file: names no file (hint: file:PATH, or file:- for standard input)")
	}
	if path == "-" {
		if loop {
			return usagef("--loop: standard input cannot be played twice (hint: put it into a file first)")
		}
		if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return usagef("--input file:- reads standard input, which is the keyboard (hint: ffmpeg … -f matroska - | wfnode speak --input file:-)")
		}
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return fmt.Errorf("--input %s%s: %w", filePrefix, path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("--input %s%s is a directory (hint: name a file)", filePrefix, path)
	} else if err == nil && !info.Mode().IsRegular() {
		return nil // a named pipe or a device: what is read for a look would be gone
	}
	if err := ingest.CheckFile(f); err != nil {
		return fmt.Errorf("--input %s%s: %w", filePrefix, path, naming(err, path))
	}
	return nil
}

// naming puts the file's name into what a hint says to do with it.
func naming(err error, path string) error {
	return &namedError{strings.ReplaceAll(err.Error(), " FILE ", " "+path+" "), err}
}

type namedError struct {
	text string
	err  error
}

func (e *namedError) Error() string { return e.text }
func (e *namedError) Unwrap() error { return e.err }

// playFile is the input that plays a file, and shows on a terminal how far it has got.
func (f *speakFlags) playFile(out *output, path string, log *slog.Logger) func(context.Context, ingest.Target) error {
	return func(ctx context.Context, to ingest.Target) error {
		cfg := ingest.FileConfig{
			Loop: f.loop, Start: f.start,
			Open: func() (io.ReadCloser, error) { return os.Open(path) },
		}
		if path == "-" {
			cfg.Open = func() (io.ReadCloser, error) { return interruptible(ctx, os.Stdin), nil }
		}
		if errs, ok := out.errs.(*os.File); ok && !out.json && term.IsTerminal(int(errs.Fd())) {
			cfg.Progress = func(at, length time.Duration) { out.progress(bar(at, length)) }
			defer out.progress("")
		}
		err := ingest.File(ctx, to, cfg, log)
		if err != nil && path != "-" {
			err = naming(err, path)
		}
		return err
	}
}

// interruptible is r until ctx ends. A read of standard input cannot be broken off, so
// the goroutine that does it may stay until the process ends.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	pr, pw := io.Pipe()
	stop := context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })
	go func() {
		defer stop()
		_, err := io.Copy(pw, r)
		if errors.Is(err, io.ErrClosedPipe) {
			err = nil
		}
		pw.CloseWithError(err)
	}()
	return pr
}

// barWidth is that of the progress bar in characters.
const barWidth = 30

// bar draws how far a file has played.
func bar(at, length time.Duration) string {
	at = max(at, 0)
	if length <= 0 {
		return "playing " + clock(at)
	}
	done := int(min(at, length) * barWidth / length)
	return fmt.Sprintf("[%s%s] %s / %s", strings.Repeat("#", done), strings.Repeat("-", barWidth-done), clock(at), clock(length))
}

// clock is d as minutes and seconds, with hours if there are any.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}
