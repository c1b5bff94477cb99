package demux

import (
	"encoding/binary"
	"errors"

	"github.com/watergy/waterfall/stream/internal/codec"
)

// openIVF reads the IVF files of libvpx and libaom: a header of 32 bytes, then for each frame
// its length, its time and its bytes.
func openIVF(s *source) (*File, error) {
	head, err := s.take(32, 32)
	if err != nil {
		return nil, err
	}
	names := map[string]string{"VP80": codec.VP8, "VP90": codec.VP9, "AV01": codec.AV1, "H265": "H.265", "HEVC": "H.265"}
	t := &Track{Codec: names[string(head[8:12])]}
	if t.Codec == "" {
		t.Codec = printable(string(head[8:12]))
	}
	rate, unit := int64(binary.LittleEndian.Uint32(head[16:])), int64(binary.LittleEndian.Uint32(head[20:]))
	if rate == 0 || unit == 0 {
		return nil, errors.New("the file says no frame rate")
	}
	if more := int64(binary.LittleEndian.Uint16(head[6:])) - 32; more > 0 {
		if err := s.skip(more); err != nil {
			return nil, err
		}
	}
	f := &File{Format: "IVF", Video: t}
	f.next = func() (Packet, error) {
		head, err := s.take(12, 12)
		if err != nil {
			return Packet{}, err
		}
		b, err := s.take(int64(binary.LittleEndian.Uint32(head)), maxPacket)
		if err != nil {
			return Packet{}, err
		}
		n := int64(binary.LittleEndian.Uint64(head[4:]))
		if n < 0 || n > 1<<40 || unit > 1<<20 {
			return Packet{}, errors.New("a frame has no sensible time")
		}
		units, err := t.units(b)
		return Packet{Video: true, Time: scale(n*unit, rate), Units: units}, err
	}
	return f, nil
}

// printable is a short name out of a file, fit to be shown.
func printable(s string) string {
	b := []byte(s[:min(len(s), 32)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
