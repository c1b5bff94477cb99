package dht

import (
	"encoding/binary"
	"errors"
)

var errShort = errors.New("the record ends too early")

// reader takes fields from bytes; after the first error it gives zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && n <= len(r.b) {
		t := r.b[:n]
		r.b = r.b[n:]
		return t
	}
	r.err = errShort
	return nil
}

func (r *reader) u8() byte {
	if t := r.take(1); t != nil {
		return t[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if t := r.take(2); t != nil {
		return binary.BigEndian.Uint16(t)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if t := r.take(4); t != nil {
		return binary.BigEndian.Uint32(t)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if t := r.take(8); t != nil {
		return binary.BigEndian.Uint64(t)
	}
	return 0
}

func (r *reader) key() (k pubKey)      { copy(k[:], r.take(len(k))); return k }
func (r *reader) box() (k [32]byte)    { copy(k[:], r.take(len(k))); return k }
func (r *reader) stream() (k [16]byte) { copy(k[:], r.take(len(k))); return k }
