package stream

import (
	"encoding/binary"
	"errors"
)

// HeaderSize is the length of the origin header in front of each sealed payload.
//
//	0      kind (2 bits: 0 media, 1 hop message) | flags (6 bits: 0x01 key start, 0x02 marker)
//	1      epoch, low byte
//	2–3    stream tag (12 bits) | track (4 bits)
//	4–9    number, 48 bits, big-endian (the 64-bit number; its upper 16 bits are zero)
//	10–13  RTP time, 32 bits
const HeaderSize = 14

// MaxNumber is the greatest number that the header can carry.
const MaxNumber = 1<<48 - 1

const (
	kindShift  = 6
	flagKey    = 0x01
	flagMarker = 0x02
)

// ErrHeader means that bytes are no origin header of a media packet.
var ErrHeader = errors.New("not an origin header")

// Header is the origin header: written by the speaker, never changed on the way.
type Header struct {
	KeyStart bool // first packet of a video group (keyframe with its parameter sets)
	Marker   bool // last packet of a frame (the RTP marker bit)
	Epoch    uint8
	Tag      uint16
	Track    Track
	Number   uint64
	Time     uint32
}

// Append adds the 14 bytes of h to b.
func (h Header) Append(b []byte) []byte {
	var flags byte
	if h.KeyStart {
		flags |= flagKey
	}
	if h.Marker {
		flags |= flagMarker
	}
	b = append(b, flags, h.Epoch)
	b = binary.BigEndian.AppendUint16(b, h.Tag<<4|uint16(h.Track&15))
	b = binary.BigEndian.AppendUint16(b, uint16(h.Number>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(h.Number))
	return binary.BigEndian.AppendUint32(b, h.Time)
}

// ParseHeader reads the origin header of a media packet. It never panics. Flags that
// it does not know are ignored.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize || b[0]>>kindShift != 0 {
		return Header{}, ErrHeader
	}
	tt := binary.BigEndian.Uint16(b[2:])
	return Header{
		KeyStart: b[0]&flagKey != 0,
		Marker:   b[0]&flagMarker != 0,
		Epoch:    b[1],
		Tag:      tt >> 4,
		Track:    Track(tt & 15),
		Number:   uint64(binary.BigEndian.Uint16(b[4:]))<<32 | uint64(binary.BigEndian.Uint32(b[6:])),
		Time:     binary.BigEndian.Uint32(b[10:]),
	}, nil
}
