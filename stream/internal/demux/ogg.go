package demux

import (
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// ogg reads the pages of one logical stream (RFC 3533), which holds Opus (RFC 7845).
type ogg struct {
	s       *source
	serial  uint32
	chosen  bool
	partial []byte   // of a packet that goes on in the next page
	packets [][]byte // read, not yet given out
	at      time.Duration
}

func openOgg(s *source) (*File, error) {
	o := &ogg{s: s}
	head, err := o.packet()
	if err != nil {
		return nil, err
	}
	if len(head) < 19 || string(head[:8]) != "OpusHead" {
		return nil, errors.New("an Ogg file without Opus first (hint: ffmpeg -i FILE -c:a libopus OUT.ogg; for video Matroska or MP4)")
	}
	if head[9] > 2 {
		return nil, errors.New("more than two channels of sound (hint: ffmpeg -ac 2)")
	}
	o.at = -scale(int64(binary.LittleEndian.Uint16(head[10:])), 48000) // decoders throw that much away
	if _, err := o.packet(); err != nil {                              // OpusTags
		return nil, err
	}
	f := &File{Format: "Ogg", Audio: &Track{Codec: Opus}}
	f.next = func() (Packet, error) {
		b, err := o.packet()
		if err != nil {
			return Packet{}, err
		}
		p := Packet{Time: max(o.at, 0), Units: [][]byte{b}}
		o.at += opusLength(b)
		return p, nil
	}
	return f, nil
}

func (o *ogg) packet() ([]byte, error) {
	for len(o.packets) == 0 {
		if err := o.page(); err != nil {
			return nil, err
		}
	}
	p := o.packets[0]
	o.packets = o.packets[1:]
	return p, nil
}

func (o *ogg) page() error {
	head, err := o.s.take(27, 27)
	if err != nil {
		return err
	}
	if string(head[:4]) != "OggS" {
		return errors.New("broken Ogg page")
	}
	lacing, err := o.s.take(int64(head[26]), 255)
	if err != nil {
		return err
	}
	size := 0
	for _, n := range lacing {
		size += int(n)
	}
	body, err := o.s.take(int64(size), 255*255)
	if err != nil {
		return err
	}
	serial := binary.LittleEndian.Uint32(head[14:])
	switch begins := head[5]&2 != 0; {
	case !o.chosen:
		o.serial, o.chosen = serial, true
	case serial != o.serial:
		return nil // of another stream
	case begins:
		return io.EOF // another file behind this one: radio does so at each song
	}
	if head[5]&1 == 0 {
		o.partial = nil
	}
	n := 0
	for _, l := range lacing {
		n += int(l)
		if l == 255 {
			continue
		}
		o.packets = append(o.packets, append(o.partial, body[:n]...))
		o.partial, body, n = nil, body[n:], 0
	}
	if o.partial = append(o.partial, body...); len(o.partial) > 1<<20 {
		return errors.New("an Ogg packet is too large")
	}
	return nil
}
