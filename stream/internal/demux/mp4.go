package demux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/watergy/waterfall/stream/internal/codec"
)

// errMP4 says that a box (ISO/IEC 14496-12) is not what it should be.
var errMP4 = errors.New("broken MP4 file")

// isBox says whether a file may begin with a box of this name.
func isBox(name string) bool {
	return slices.Contains([]string{"ftyp", "styp", "moov", "moof", "mdat", "free", "skip", "wide"}, name)
}

// mp4 is a file of the ISO base media format, whole or in fragments.
type mp4 struct {
	s            *source
	video, audio *mp4Track
	whole        bool        // the index lists every sample: there are no fragments
	queue        []mp4Sample // to be given out, in order
}

// mp4Track is what the index says of a track.
type mp4Track struct {
	Track
	id       uint32
	rate     int64
	shift    int64 // ticks that its beginning is late, by the edit list
	next     int64 // fragments: time of the next sample
	defaults [3]uint32
	samples  []mp4Sample
}

// mp4Sample is one frame or packet: within data, else in the file at offset.
type mp4Sample struct {
	track  *mp4Track
	sort   time.Duration // of decoding
	time   time.Duration // of presentation
	offset int64
	size   int64
	data   []byte
}

func openMP4(s *source) (*File, error) {
	m := &mp4{s: s}
	length, err := m.index()
	if err != nil {
		return nil, err
	}
	f := &File{Format: "MP4", Length: length, next: m.nextPacket}
	if m.video != nil {
		f.Video = &m.video.Track
	}
	if m.audio != nil {
		f.Audio = &m.audio.Track
	}
	return f, nil
}

// box reads the next box's header from the source; size is that of its content, -1 when it
// goes on to the end.
func (m *mp4) box() (name string, size int64, err error) {
	b, err := m.s.take(8, 8)
	if err != nil {
		return "", 0, err
	}
	name, size = string(b[4:]), int64(binary.BigEndian.Uint32(b))-8
	switch size {
	case -8:
		return name, -1, nil
	case 1 - 8:
		if b, err = m.s.take(8, 8); err != nil {
			return "", 0, err
		}
		size = int64(binary.BigEndian.Uint64(b)) - 16
	}
	if size < 0 {
		return "", 0, errMP4
	}
	return name, size, nil
}

// index reads up to the tracks. Where the media come first it goes back for them, if it can.
func (m *mp4) index() (time.Duration, error) {
	back := int64(-1)
	for {
		name, size, err := m.box()
		switch {
		case errors.Is(err, io.EOF):
			return 0, errors.New("the MP4 file has no index: it was cut off, or is still being written")
		case err != nil:
			return 0, err
		case name == "moov":
			return m.moov(size)
		case name == "mdat" && m.s.at == nil:
			return 0, errors.New("the MP4 file's index is at its end, which a pipe cannot wait for (hint: ffmpeg -movflags +frag_keyframe+empty_moov, or -f matroska)")
		case size < 0:
			return 0, errMP4
		case m.s.at != nil: // leap over it
			if back = m.s.pos + size; back < 0 {
				return 0, errMP4
			}
			m.s.r.Reset(io.NewSectionReader(m.s.at, back, 1<<62))
			m.s.pos = back
		default:
			if err := m.s.skip(size); err != nil {
				return 0, err
			}
		}
	}
}

// boxes goes through the boxes in b.
func boxes(b []byte, visit func(name string, b []byte) error) error {
	for len(b) >= 8 {
		size, head := int64(binary.BigEndian.Uint32(b)), int64(8)
		switch {
		case size == 0:
			size = int64(len(b))
		case size == 1 && len(b) >= 16:
			size, head = int64(binary.BigEndian.Uint64(b[8:])), 16
		}
		if size < head || size > int64(len(b)) {
			return errMP4
		}
		if err := visit(string(b[4:8]), b[head:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

func (m *mp4) moov(size int64) (time.Duration, error) {
	b, err := m.s.take(size, maxBox)
	if err != nil {
		return 0, err
	}
	var length time.Duration
	rate := int64(1000)
	trex := map[uint32][3]uint32{}
	var tracks []*mp4Track
	err = boxes(b, func(name string, b []byte) error {
		switch name {
		case "mvhd":
			f := fields{b: b}
			v1 := f.version() == 1
			f.skip(map[bool]int{false: 8, true: 16}[v1])
			rate = int64(f.u32())
			length = scale(min(f.sized(v1), 1<<40), max(rate, 1))
			return f.err()
		case "trak":
			t, err := readTrak(b, rate)
			if err == nil && t != nil {
				tracks = append(tracks, t)
			}
			return err
		case "mvex":
			return boxes(b, func(name string, b []byte) error {
				if name == "trex" && len(b) >= 24 {
					f := fields{b: b[4:]}
					id, _ := f.u32(), f.u32()
					trex[id] = [3]uint32{f.u32(), f.u32(), f.u32()}
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, t := range tracks {
		t.defaults = trex[t.id]
		if t.kind() == "video" && m.video == nil {
			m.video = t
		} else if t.kind() == "audio" && m.audio == nil {
			m.audio = t
		} else {
			continue
		}
		m.queue = append(m.queue, t.samples...)
	}
	m.whole = len(m.queue) > 0
	if m.s.at != nil {
		slices.SortStableFunc(m.queue, func(a, b mp4Sample) int { return int(min(max(a.sort-b.sort, -1), 1)) })
	} else {
		slices.SortStableFunc(m.queue, func(a, b mp4Sample) int { return int(min(max(a.offset-b.offset, -1), 1)) })
	}
	return length, nil
}

func (t *mp4Track) kind() string {
	if t.Codec == Opus || t.lenLen < 0 {
		return "audio"
	}
	return "video"
}

func (m *mp4) nextPacket() (Packet, error) {
	for {
		for len(m.queue) == 0 {
			if m.whole {
				return Packet{}, io.EOF
			}
			if err := m.fragment(); err != nil {
				return Packet{}, err
			}
		}
		p := m.queue[0]
		m.queue[0] = mp4Sample{}
		m.queue = m.queue[1:]
		b, err := m.bytes(p)
		if err != nil {
			return Packet{}, err
		}
		out := Packet{Video: p.track == m.video, Time: p.time}
		if out.Units, err = p.track.unitsOf(b); err != nil {
			return Packet{}, err
		}
		if len(out.Units) > 0 {
			return out, nil
		}
	}
}

func (t *mp4Track) unitsOf(b []byte) ([][]byte, error) {
	if t.kind() == "audio" {
		return [][]byte{b}, nil
	}
	return t.units(b)
}

// bytes fetches a sample.
func (m *mp4) bytes(p mp4Sample) ([]byte, error) {
	switch {
	case p.data != nil:
		return p.data, nil
	case p.size > maxPacket:
		return nil, errMP4
	case m.s.at != nil:
		b := make([]byte, p.size)
		if _, err := m.s.at.ReadAt(b, p.offset); err != nil {
			return nil, cut(err)
		}
		return b, nil
	case p.offset < m.s.pos:
		return nil, errMP4
	}
	if err := m.s.skip(p.offset - m.s.pos); err != nil {
		return nil, err
	}
	return m.s.take(p.size, maxPacket)
}

// fragment reads boxes up to the next fragment and its media.
func (m *mp4) fragment() error {
	for {
		start := m.s.pos
		name, size, err := m.box()
		if err != nil {
			return err
		}
		if name != "moof" {
			if size < 0 {
				return io.EOF
			}
			if err := m.s.skip(size); err != nil {
				return err
			}
			continue
		}
		b, err := m.s.take(size, maxBox)
		if err != nil {
			return err
		}
		if err := m.moof(b, start); err != nil {
			return err
		}
		if err := m.fill(); err != nil {
			return err
		}
		return nil
	}
}

// fill reads the media behind a fragment's index into its samples.
func (m *mp4) fill() error {
	for {
		name, size, err := m.box()
		if err != nil {
			return err
		}
		if name != "mdat" {
			if size < 0 {
				return errMP4
			}
			if err := m.s.skip(size); err != nil {
				return err
			}
			continue
		}
		if size < 0 {
			return errMP4
		}
		start := m.s.pos
		b, err := m.s.take(size, 4*maxBox)
		if err != nil {
			return err
		}
		for i, p := range m.queue {
			from := p.offset - start
			if from < 0 || p.size < 0 || from > size || p.size > size-from {
				return errMP4
			}
			m.queue[i].data = b[from : from+p.size]
		}
		slices.SortStableFunc(m.queue, func(a, b mp4Sample) int { return int(min(max(a.sort-b.sort, -1), 1)) })
		return nil
	}
}

// moof reads the index of a fragment that begins at start.
func (m *mp4) moof(b []byte, start int64) error {
	return boxes(b, func(name string, b []byte) error {
		if name != "traf" {
			return nil
		}
		var run fragmentRun
		return boxes(b, func(name string, b []byte) error {
			f := &fields{b: b}
			switch name {
			case "tfhd":
				run = fragmentRun{base: start}
				m.tfhd(f, &run)
			case "tfdt":
				if v1 := f.version() == 1; run.track != nil {
					run.track.next = f.sized(v1)
				}
			case "trun":
				if run.track != nil {
					m.trun(f, &run)
				}
			}
			return f.err()
		})
	})
}

// fragmentRun is what a track fragment's header says.
type fragmentRun struct {
	track    *mp4Track
	base     int64
	end      int64 // of the run before; 0: none
	duration uint32
	size     uint32
}

func (m *mp4) tfhd(f *fields, r *fragmentRun) {
	flags := f.flags()
	id := f.u32()
	for _, t := range []*mp4Track{m.video, m.audio} {
		if t != nil && t.id == id {
			r.track, r.duration, r.size = t, t.defaults[0], t.defaults[1]
		}
	}
	if flags&0x1 != 0 {
		r.base = f.sized(true)
	}
	if flags&0x2 != 0 {
		f.u32()
	}
	if flags&0x8 != 0 {
		r.duration = f.u32()
	}
	if flags&0x10 != 0 {
		r.size = f.u32()
	}
}

func (m *mp4) trun(f *fields, r *fragmentRun) {
	flags := f.flags()
	count := int64(f.u32())
	at := r.end
	if at == 0 {
		at = r.base
	}
	if flags&0x1 != 0 {
		at = r.base + int64(int32(f.u32()))
	}
	if flags&0x4 != 0 {
		f.u32()
	}
	t := r.track
	for range count {
		if f.bad || len(m.queue) >= maxSamples || len(f.b) == 0 && flags&0xf00 != 0 {
			f.bad = true
			return
		}
		duration, size, late := r.duration, r.size, int64(0)
		if flags&0x100 != 0 {
			duration = f.u32()
		}
		if flags&0x200 != 0 {
			size = f.u32()
		}
		if flags&0x400 != 0 {
			f.u32()
		}
		if flags&0x800 != 0 {
			late = int64(int32(f.u32()))
		}
		m.queue = append(m.queue, t.sample(t.next, late, at, int64(size)))
		t.next += int64(duration)
		at += int64(size)
	}
	r.end = at
}

// sample places a sample that is decoded at ticks.
func (t *mp4Track) sample(ticks, late, offset, size int64) mp4Sample {
	ticks = max(min(ticks, 1<<50), -(1 << 50))
	return mp4Sample{
		track: t, offset: offset, size: size,
		sort: scale(ticks+t.shift, t.rate), time: scale(ticks+t.shift+late, t.rate),
	}
}

var errChannels = errors.New("more than two channels of sound (hint: ffmpeg -ac 2)")

// mp4Entry reads the sample description ("stsd"): the codec and its configuration.
func mp4Entry(b []byte, audio bool) (t Track, err error) {
	if len(b) < 8 {
		return t, errMP4
	}
	err = boxes(b[8:], func(name string, b []byte) error {
		if t.Codec != "" {
			return nil // not the first
		}
		head := 78 // of a visual entry
		if audio {
			head = 28
		}
		if len(b) < head {
			return errMP4
		}
		channels := binary.BigEndian.Uint16(b[16:])
		switch name {
		case "avc1", "avc3":
			return boxes(b[head:], func(name string, b []byte) error {
				if name != "avcC" {
					return nil
				}
				a, err := avcTrack(b)
				if err == nil {
					t = *a
				}
				return err
			})
		case "av01":
			t.Codec = codec.AV1
			return boxes(b[head:], func(name string, b []byte) error {
				if name == "av1C" {
					t = *av1Track(b)
				}
				return nil
			})
		case "vp08":
			t.Codec = codec.VP8
		case "vp09":
			t.Codec = codec.VP9
		case "hvc1", "hev1":
			t.Codec = "H265"
		case "Opus":
			if t.Codec = Opus; channels > 2 {
				return errChannels
			}
		case "mp4a":
			t.Codec = "AAC"
		default:
			t.Codec = printable(name)
		}
		return nil
	})
	if err == nil && t.Codec == "" {
		err = fmt.Errorf("%w: a track without a codec", errMP4)
	}
	if audio {
		t.lenLen = -1
	}
	return t, err
}
