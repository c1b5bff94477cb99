package demux

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func files(t testing.TB) map[string][]byte {
	t.Helper()
	all, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, path := range all {
		if strings.HasSuffix(path, ".sh") {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(path)] = b
	}
	return out
}

// pipe is a reader that cannot go back.
type pipe struct{ io.Reader }

// drain reads a file to its end, or until limit packets.
func drain(r io.Reader, limit int) (f *File, packets []Packet, err error) {
	if f, err = Open(r); err != nil {
		return nil, nil, err
	}
	for len(packets) < limit {
		p, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return f, packets, err
		}
		packets = append(packets, p)
	}
	return f, packets, nil
}

// Every file has its four frames and 0.4 s of sound, whole or through a pipe.
func TestFiles(t *testing.T) {
	for name, b := range files(t) {
		for _, r := range []io.Reader{bytes.NewReader(b), pipe{bytes.NewReader(b)}} {
			_, piped := r.(pipe)
			f, packets, err := drain(r, 1000)
			if (name == "whole.mp4" || name == "aac.mp4") && piped {
				if err == nil || !strings.Contains(err.Error(), "pipe cannot wait") {
					t.Errorf("an index at the end of a pipe: %v", err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			frames, sounds := 0, 0
			last := [2]time.Duration{-time.Second, -time.Second} // sound begins before 0 by what decoders skip
			for _, p := range packets {
				i := 0
				if p.Video {
					i = 1
					frames++
				} else {
					sounds++
				}
				if p.Time < last[i] || len(p.Units) == 0 {
					t.Errorf("%s: a packet of %d units at %v after %v", name, len(p.Units), p.Time, last[i])
				}
				last[i] = p.Time
			}
			if f.Video != nil && (frames != 4 || (last[1]-300*time.Millisecond).Abs() > 25*time.Millisecond) {
				t.Errorf("%s: %d frames, the last at %v", name, frames, last[1])
			}
			if f.Audio != nil && (sounds < 19 || last[0] < 340*time.Millisecond || last[0] > 460*time.Millisecond) {
				t.Errorf("%s: %d packets of sound, the last at %v", name, sounds, last[0])
			}
			if f.Video == nil && f.Audio == nil {
				t.Errorf("%s: nothing in it", name)
			}
		}
	}
}

// A file cut off anywhere plays up to there, or is an error; it is never played as another.
func TestCutFiles(t *testing.T) {
	for name, b := range files(t) {
		_, all, err := drain(bytes.NewReader(b), 1000)
		if err != nil {
			t.Fatal(name, err)
		}
		for n := 0; n < len(b); n += 1 + len(b)/200 {
			if _, packets, _ := drain(pipe{bytes.NewReader(b[:n])}, 1000); len(packets) > len(all) {
				t.Errorf("%s: %d packets of the first %d bytes, %d of all", name, len(packets), n, len(all))
			}
		}
	}
}

func TestUnlace(t *testing.T) {
	for _, c := range []struct {
		name string
		kind byte
		in   []byte
		want string // frames joined by |; empty: an error
	}{
		{"none", 0, []byte("abc"), "abc"},
		{"Xiph", 1, append([]byte{2, 1, 2}, "abbccc"...), "a|bb|ccc"},
		{"fixed", 2, append([]byte{2}, "aabbcc"...), "aa|bb|cc"},
		{"EBML", 3, append([]byte{2, 0x83, 0xbe}, "aaabbc"...), "aaa|bb|c"},
		{"Xiph, too long", 1, []byte{1, 9, 'a'}, ""},
		{"EBML, negative", 3, []byte{2, 0x81, 0x80, 'a'}, ""},
		{"nothing", 1, nil, ""},
	} {
		out, err := unlace(c.kind, c.in)
		if (err != nil) != (c.want == "") || err == nil && string(bytes.Join(out, []byte("|"))) != c.want {
			t.Errorf("%s: %q, %v", c.name, out, err)
		}
	}
}

func TestOpusLength(t *testing.T) {
	for _, c := range []struct {
		packet []byte
		want   time.Duration
	}{
		{nil, 0}, {[]byte{0xfc}, 20 * time.Millisecond}, {[]byte{0xe1}, 5 * time.Millisecond}, {[]byte{0x18}, 60 * time.Millisecond},
		{[]byte{0x60}, 10 * time.Millisecond}, {[]byte{0xfb, 3}, 60 * time.Millisecond}, {[]byte{0xfb}, 0}, {[]byte{0x1b, 63}, 120 * time.Millisecond},
	} {
		if got := opusLength(c.packet); got != c.want {
			t.Errorf("% x: %v, want %v", c.packet, got, c.want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, b := range files(f) {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(_ *testing.T, b []byte, piped bool) {
		var r io.Reader = bytes.NewReader(b)
		if piped {
			r = pipe{r}
		}
		_, _, _ = drain(r, 500)
	})
}
