package demux

import "encoding/binary"

// fields reads numbers; past the end they are 0, and bad is set.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if n > len(f.b) {
		f.bad, f.b = true, nil
		return make([]byte, n)
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) skip(n int) {
	f.take(min(n, len(f.b)+1))
}
func (f *fields) u32() uint32   { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) flags() uint32 { return f.u32() & 0xffffff }

// version reads the version, and flags, of a full box.
func (f *fields) version() byte { return byte(f.u32() >> 24) }

// sized reads a number of 8 bytes (below 2^62), or of 4.
func (f *fields) sized(long bool) int64 {
	if !long {
		return int64(f.u32())
	}
	return int64(binary.BigEndian.Uint64(f.take(8)) & (1<<62 - 1))
}

func (f *fields) err() error {
	if f.bad {
		return errMP4
	}
	return nil
}
