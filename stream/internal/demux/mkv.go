package demux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/watergy/waterfall/stream/internal/codec"
)

// Elements of Matroska (RFC 9559) that are looked at.
const (
	idEBML         = 0x1a45dfa3
	idSegment      = 0x18538067
	idInfo         = 0x1549a966
	idTimeScale    = 0x2ad7b1
	idDuration     = 0x4489
	idTracks       = 0x1654ae6b
	idTrackEntry   = 0xae
	idTrackNumber  = 0xd7
	idTrackType    = 0x83
	idCodecID      = 0x86
	idCodecPrivate = 0x63a2
	idAudio        = 0xe1
	idChannels     = 0x9f
	idEncodings    = 0x6d80
	idCluster      = 0x1f43b675
	idTime         = 0xe7
	idSimpleBlock  = 0xa3
	idBlockGroup   = 0xa0
	idBlock        = 0xa1
)

// unknownSize is the size of an element that ends where its children do.
const unknownSize = math.MaxInt64

// mkv reads a Matroska or WebM file element by element. Segments and clusters are entered
// and never left: their children have names of their own.
type mkv struct {
	s       *source
	scale   int64 // ns
	length  float64
	cluster int64
	tracks  map[uint64]*Track
	video   uint64 // numbers of the tracks that are read
	audio   uint64
	queue   []Packet
}

func openMKV(s *source) (*File, error) {
	m := &mkv{s: s, scale: 1e6}
	for m.tracks == nil {
		if err := m.element(); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the file ends before its list of tracks")
			}
			return nil, err
		}
	}
	f := &File{Format: "Matroska", Video: m.tracks[m.video], Audio: m.tracks[m.audio]}
	if n := m.length * float64(m.scale); n > 0 && n < float64(1<<60) {
		f.Length = time.Duration(n)
	}
	f.next = func() (Packet, error) {
		for len(m.queue) == 0 {
			if err := m.element(); err != nil {
				return Packet{}, err
			}
		}
		p := m.queue[0]
		m.queue = m.queue[1:]
		return p, nil
	}
	return f, nil
}

// element reads the next element: into it, or over it.
func (m *mkv) element() error {
	id, size, err := m.head()
	if err != nil {
		return err
	}
	switch id {
	case idSegment, idCluster:
		return nil
	case idEBML, idInfo, idTracks, idTime, idSimpleBlock, idBlockGroup:
	default:
		if size == unknownSize {
			return errors.New("broken Matroska file")
		}
		return m.s.skip(size)
	}
	b, err := m.s.take(size, maxPacket)
	if err != nil {
		return err
	}
	switch id {
	case idInfo:
		err = m.info(b)
	case idTracks:
		if m.tracks == nil {
			err = m.readTracks(b)
		}
	case idTime:
		m.cluster = int64(number(b) & math.MaxInt64)
	case idSimpleBlock:
		err = m.block(b)
	case idBlockGroup:
		err = children(b, func(id uint32, b []byte) error {
			if id != idBlock {
				return nil
			}
			return m.block(b)
		})
	}
	return err
}

// head reads an element's name and size from the source.
func (m *mkv) head() (id uint32, size int64, err error) {
	b, err := m.s.take(1, 1)
	if err != nil {
		return 0, 0, err
	}
	n := vintLength(b[0])
	if n > 4 {
		return 0, 0, errors.New("broken Matroska file")
	}
	rest, err := m.s.take(int64(n-1), 3)
	if err != nil {
		return 0, 0, err
	}
	id = uint32(number(append(b, rest...)))
	if b, err = m.s.take(1, 1); err != nil {
		return 0, 0, err
	}
	if n = vintLength(b[0]); n > 8 {
		return 0, 0, errors.New("broken Matroska file")
	}
	if rest, err = m.s.take(int64(n-1), 7); err != nil {
		return 0, 0, err
	}
	v, _ := vint(append(b, rest...))
	return id, v, nil
}

// vintLength is how many bytes a variable-length number takes (RFC 8794, section 4); 9: none.
func vintLength(b byte) int {
	for n := 1; n <= 8; n++ {
		if b&(0x80>>(n-1)) != 0 {
			return n
		}
	}
	return 9
}

// vint reads a variable-length number; n is 0 when it is broken.
func vint(b []byte) (v int64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	if n = vintLength(b[0]); n > 8 || n > len(b) {
		return 0, 0
	}
	all := uint64(1)<<(7*n) - 1
	u := number(b[:n]) & all
	if u == all {
		return unknownSize, n
	}
	return int64(u), n
}

// number reads a big-endian number.
func number(b []byte) (v uint64) {
	for _, c := range b[:min(len(b), 8)] {
		v = v<<8 | uint64(c)
	}
	return v
}

// children goes through the elements in b.
func children(b []byte, visit func(id uint32, b []byte) error) error {
	for len(b) > 0 {
		n := vintLength(b[0])
		if n > 4 || n > len(b) {
			return errors.New("broken Matroska element")
		}
		id := uint32(number(b[:n]))
		size, k := vint(b[n:])
		if k == 0 || size > int64(len(b)-n-k) {
			return errors.New("broken Matroska element")
		}
		b = b[n+k:]
		if err := visit(id, b[:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

func (m *mkv) info(b []byte) error {
	return children(b, func(id uint32, b []byte) error {
		switch {
		case id == idTimeScale:
			if n := number(b); n > 0 && n <= 1e9 {
				m.scale = int64(n)
			}
		case id == idDuration && len(b) == 4:
			m.length = float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
		case id == idDuration && len(b) == 8:
			m.length = math.Float64frombits(binary.BigEndian.Uint64(b))
		}
		return nil
	})
}

func (m *mkv) readTracks(b []byte) error {
	m.tracks = map[uint64]*Track{}
	return children(b, func(id uint32, b []byte) error {
		if id != idTrackEntry {
			return nil
		}
		return m.entry(b)
	})
}

func (m *mkv) entry(b []byte) error {
	var num, kind, channels uint64
	var name string
	var private []byte
	encoded := false
	err := children(b, func(id uint32, b []byte) error {
		switch id {
		case idTrackNumber:
			num = number(b)
		case idTrackType:
			kind = number(b)
		case idCodecID:
			name = printable(strings.TrimRight(string(b), "\x00"))
		case idCodecPrivate:
			private = b
		case idEncodings:
			encoded = true
		case idAudio:
			return children(b, func(id uint32, b []byte) error {
				if id == idChannels {
					channels = number(b)
				}
				return nil
			})
		}
		return nil
	})
	const video, audio = 1, 2
	switch {
	case err != nil:
		return err
	case num == 0 || kind == video && m.video != 0 || kind == audio && m.audio != 0 || kind != video && kind != audio:
		return nil // not the first of its kind
	case encoded:
		return errors.New("the file's tracks are compressed or encrypted (hint: ffmpeg -i FILE -c copy -f matroska -)")
	case kind == audio && channels > 2:
		return fmt.Errorf("%d channels of sound (hint: ffmpeg -ac 2)", channels)
	}
	t, err := mkvTrack(name, private)
	if err != nil {
		return err
	}
	if m.tracks[num] = t; kind == video {
		m.video = num
	} else {
		m.audio = num
	}
	return nil
}

func mkvTrack(name string, private []byte) (*Track, error) {
	switch name {
	case "V_MPEG4/ISO/AVC":
		return avcTrack(private)
	case "V_AV1":
		return av1Track(private), nil
	case "V_VP8":
		return &Track{Codec: codec.VP8}, nil
	case "V_VP9":
		return &Track{Codec: codec.VP9}, nil
	case "V_MPEGH/ISO/HEVC":
		return &Track{Codec: "H265"}, nil
	case "A_OPUS":
		return &Track{Codec: Opus}, nil
	}
	if strings.HasPrefix(name, "A_AAC") {
		return &Track{Codec: "AAC"}, nil
	}
	return &Track{Codec: strings.TrimPrefix(strings.TrimPrefix(name, "V_"), "A_")}, nil
}

// block takes a block apart (RFC 9559, section 10).
func (m *mkv) block(b []byte) error {
	num, n := vint(b)
	if n == 0 || len(b) < n+3 {
		return errors.New("broken Matroska block")
	}
	t := m.tracks[uint64(num)]
	if t == nil {
		return nil
	}
	ticks := m.cluster + int64(int16(binary.BigEndian.Uint16(b[n:])))
	if ticks < 0 || ticks > math.MaxInt64/m.scale {
		return errors.New("a Matroska block has no sensible time")
	}
	at := time.Duration(ticks * m.scale)
	frames, err := unlace(b[n+2]>>1&3, b[n+3:])
	if err != nil {
		return err
	}
	for _, b := range frames {
		units, err := t.units(b)
		if err != nil {
			return err
		}
		m.queue = append(m.queue, Packet{Video: uint64(num) == m.video, Time: at, Units: units})
		at += opusLength(b) // frames of a laced block say no times; video is never laced
	}
	return nil
}

// unlace takes apart the frames of a block (RFC 9559, section 10.3).
func unlace(kind byte, b []byte) ([][]byte, error) {
	const none, xiph, fixed = 0, 1, 2
	if kind == none {
		return [][]byte{b}, nil
	}
	broken := errors.New("broken Matroska lacing")
	if len(b) == 0 {
		return nil, broken
	}
	count, b := int(b[0])+1, b[1:]
	sizes, sum := make([]int, count), 0
	for i := range count - 1 {
		switch {
		case kind == fixed:
			sizes[i] = len(b) / count
		case kind == xiph:
			for more := true; more; {
				if len(b) == 0 {
					return nil, broken
				}
				sizes[i] += int(b[0])
				more, b = b[0] == 255, b[1:]
			}
		default: // EBML: the first size, then differences
			v, n := vint(b)
			if n == 0 || v > maxPacket {
				return nil, broken
			}
			if b = b[n:]; i > 0 {
				v = int64(sizes[i-1]) + v - (1<<(7*n-1) - 1)
			}
			if v < 0 || v > maxPacket {
				return nil, broken
			}
			sizes[i] = int(v)
		}
		sum += sizes[i]
	}
	if sum > len(b) {
		return nil, broken
	}
	sizes[count-1] = len(b) - sum
	out := make([][]byte, count)
	for i, n := range sizes {
		out[i], b = b[:n], b[n:]
	}
	return out, nil
}
