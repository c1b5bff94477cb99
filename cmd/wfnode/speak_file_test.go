package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckInput(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, []byte("no media in here"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f    speakFlags
		want string // in the error; empty: none
	}{
		{speakFlags{input: "test"}, ""},
		{speakFlags{input: "file:-"}, ""},
		{speakFlags{input: "file:-", start: time.Second}, ""},
		{speakFlags{input: "file:-", loop: true}, "cannot be played twice"},
		{speakFlags{input: "test", loop: true}, "belong to a file"},
		{speakFlags{input: "rtsp", start: time.Second}, "belong to a file"},
		{speakFlags{input: "file:" + text, start: -1}, "before the file's beginning"},
		{speakFlags{input: "file:"}, "names no file"},
		{speakFlags{input: "file:" + dir}, "is a directory"},
		{speakFlags{input: "file:" + text}, "(hint: MP4, Matroska"},
		{speakFlags{input: "file:" + filepath.Join(dir, "missing.mp4")}, "no such file"},
		{speakFlags{input: "tape"}, "is no input"},
	} {
		err := c.f.checkInput(strings.NewReader(""))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.f.input, err, c.want)
		}
	}
}

func TestNaming(t *testing.T) {
	cause := errors.New("cause")
	err := naming(errors.Join(cause, errors.New("(hint: ffmpeg -i FILE -c copy)")), "a b.mp4")
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "ffmpeg -i a b.mp4 -c copy") {
		t.Errorf("%v", err)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		at, length time.Duration
		want       string
	}{
		{0, 0, "playing 00:00"},
		{90 * time.Second, 3 * time.Minute, "[###############---------------] 01:30 / 03:00"},
		{2 * time.Hour, time.Hour, "[##############################] 2:00:00 / 1:00:00"},
	} {
		if got := bar(c.at, c.length); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// A read that nobody answers ends with the context.
func TestInterruptible(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	defer pw.Close()
	r := interruptible(ctx, pr)
	go func() {
		_, _ = pw.Write([]byte("abc"))
		cancel()
	}()
	b, err := io.ReadAll(r)
	if string(b) != "abc" && len(b) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%q, %v", b, err)
	}
}
