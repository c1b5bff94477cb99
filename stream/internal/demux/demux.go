// Package demux reads media files, whole or as they come through a pipe: MP4 (also
// fragmented), Matroska and WebM, IVF, Ogg Opus and MPEG-TS. It takes apart only what a
// stream can hold, and is bounded in what it believes of a file.
//
// MP4, Matroska, IVF and Ogg are read here and not by a library: those at hand either
// panic on broken files, or hold the whole file, or cannot read from a pipe.
package demux

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/watergy/waterfall/stream/internal/codec"
)

// Opus is the name of the one audio codec that passes; others are named as people write them.
const Opus = "opus"

// Track is a track of a file: at most one video and one audio track are read.
type Track struct {
	Codec string // as package codec names it, "opus", or another's name for people
	// Header is what a decoder needs before the first frame, in units of package codec.
	Header [][]byte
	lenLen int // bytes of a NAL unit's length; 0: units as they are
}

// Packet is a frame, or an Opus packet.
type Packet struct {
	Video bool
	Time  time.Duration // of presentation, from the file's beginning
	Units [][]byte      // video: a frame as package codec has it; audio: the packet
}

// File is a file being read.
type File struct {
	Format       string
	Video, Audio *Track        // nil: none
	Length       time.Duration // 0: not known
	next         func() (Packet, error)
}

// Next is the next packet; between tracks the order is that of the file. io.EOF at the end.
func (f *File) Next() (Packet, error) { return f.next() }

// ErrFormat says that a file is of no kind that can be read.
var ErrFormat = errors.New("not a file that can be read here (hint: MP4, Matroska, WebM, IVF, Ogg Opus or MPEG-TS; ffmpeg -i FILE -c copy -f matroska -)")

const (
	maxBox     = 64 << 20 // of what is held at once: an index, a fragment
	maxPacket  = 16 << 20 // of one frame
	maxSamples = 8 << 20  // of an MP4 file without fragments: 77 h at 30 frames a second
)

// Open begins to read r. A file (io.ReaderAt) may have its index at the end, and is not
// read as a whole; what comes through a pipe needs it in front.
func Open(r io.Reader) (*File, error) {
	s := &source{r: bufio.NewReaderSize(r, 256<<10)}
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			s.at = f
		}
	} else if at, ok := r.(io.ReaderAt); ok {
		s.at = at
	}
	head, err := s.r.Peek(12)
	if len(head) < 4 {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return nil, err
	}
	switch {
	case len(head) >= 8 && isBox(string(head[4:8])):
		return openMP4(s)
	case string(head[:4]) == "\x1a\x45\xdf\xa3":
		return openMKV(s)
	case string(head[:4]) == "DKIF":
		return openIVF(s)
	case string(head[:4]) == "OggS":
		return openOgg(s)
	case head[0] == 0x47:
		return openTS(s)
	}
	return nil, ErrFormat
}

// source is read from front to back; at is nil when there is no going back.
type source struct {
	r   *bufio.Reader
	at  io.ReaderAt
	pos int64
}

// Read makes the source a reader that knows its position.
func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	s.pos += int64(n)
	return n, err
}

// take reads n bytes into a buffer of their own. A file that ends before is over.
func (s *source) take(n, limit int64) ([]byte, error) {
	if n < 0 || n > limit {
		return nil, fmt.Errorf("a part of %d bytes is too large", n)
	}
	// What a broken file promises is not allocated before it has come.
	b := make([]byte, min(n, 1<<20))
	if _, err := io.ReadFull(s, b); err != nil {
		return nil, cut(err)
	}
	for int64(len(b)) < n {
		more := make([]byte, min(n-int64(len(b)), int64(len(b))))
		if _, err := io.ReadFull(s, more); err != nil {
			return nil, cut(err)
		}
		b = append(b, more...)
	}
	return b, nil
}

func (s *source) skip(n int64) error {
	if n < 0 {
		return errors.New("a part of negative length")
	}
	k, err := io.CopyN(io.Discard, s, n)
	if k < n {
		return cut(err)
	}
	return nil
}

// cut makes the end of a file that was cut off an ordinary end.
func cut(err error) error {
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

// units takes a stored frame apart.
func (t *Track) units(b []byte) ([][]byte, error) {
	switch {
	case t.Codec == codec.AV1:
		return codec.SplitOBUs(b)
	case t.lenLen == 0:
		return [][]byte{b}, nil
	}
	var out [][]byte
	for len(b) > 0 {
		if len(b) < t.lenLen || len(out) == 1024 {
			return nil, errors.New("broken frame")
		}
		n := 0
		for _, c := range b[:t.lenLen] {
			n = n<<8 | int(c)
		}
		if b = b[t.lenLen:]; n < 0 || n > len(b) {
			return nil, errors.New("broken frame")
		}
		out, b = append(out, b[:n]), b[n:]
	}
	return out, nil
}

// avcTrack reads H.264's configuration record ("avcC", ISO/IEC 14496-15, 5.3.3.1).
func avcTrack(b []byte) (*Track, error) {
	t := &Track{Codec: codec.H264, lenLen: 4}
	if len(b) < 7 {
		return nil, errors.New("broken parameters of the video")
	}
	t.lenLen = int(b[4]&3) + 1
	sets, b := int(b[5]&31), b[6:]
	for range 2 { // SPS, then PPS
		for range sets {
			if len(b) < 2 || int(b[0])<<8|int(b[1]) > len(b)-2 {
				return nil, errors.New("broken parameters of the video")
			}
			n := int(b[0])<<8 | int(b[1])
			t.Header, b = append(t.Header, b[2:2+n]), b[2+n:]
		}
		if len(b) == 0 {
			break
		}
		sets, b = int(b[0]), b[1:]
	}
	return t, nil
}

func av1Track(config []byte) *Track {
	t := &Track{Codec: codec.AV1}
	if seq := codec.Configuration(config); seq != nil {
		t.Header = [][]byte{seq}
	}
	return t
}

// scale is n/rate seconds.
func scale(n, rate int64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(n/rate)*time.Second + time.Duration(n%rate)*time.Second/time.Duration(rate)
}

// opusLength is how long an Opus packet plays (RFC 6716, section 3.1).
func opusLength(p []byte) time.Duration {
	if len(p) == 0 {
		return 0
	}
	frame := time.Duration(0)
	switch c := p[0] >> 3; {
	case c < 12: // SILK
		frame = [4]time.Duration{10, 20, 40, 60}[c&3] * time.Millisecond
	case c < 16: // hybrid
		frame = [2]time.Duration{10, 20}[c&1] * time.Millisecond
	default: // CELT
		frame = 2500 * time.Microsecond << (c & 3)
	}
	switch p[0] & 3 {
	case 0:
		return frame
	case 3:
		if len(p) < 2 {
			return 0
		}
		return min(frame*time.Duration(p[1]&63), 120*time.Millisecond)
	}
	return 2 * frame
}
