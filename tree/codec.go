package tree

import (
	"encoding/binary"
	"errors"
	"time"
)

type encoder []byte

func (e *encoder) byte(b byte)   { *e = append(*e, b) }
func (e *encoder) uint(n uint64) { *e = binary.AppendUvarint(*e, n) }

func (e *encoder) bytes(b []byte) {
	e.uint(uint64(len(b)))
	*e = append(*e, b...)
}

func (e *encoder) counts(c []uint32) {
	e.uint(uint64(len(c)))
	for _, n := range c {
		e.uint(uint64(n))
	}
}

func (e *encoder) delay(d time.Duration) {
	e.uint(uint64(min(max(d, 0), maxDelay) / time.Microsecond))
}

func (e *encoder) offer(o Offer) {
	e.uint(uint64(o.ID))
	e.bytes([]byte(o.Joiner))
	e.uint(uint64(o.Purpose))
	e.uint(uint64(o.Below))
	e.uint(uint64(o.Slots))
	e.bytes([]byte(o.Avoid))
	e.bytes(o.Raw)
	e.standing(o.Reach, o.Up)
}

// standing is what offers and sums say about a node besides its slots.
func (e *encoder) standing(r Reach, up int) {
	e.byte(byte(r.NAT))
	e.uint(uint64(r.Site))
	e.uint(uint64(min(max(up, 0), maxUp)))
}

func (e *encoder) entries(list []Entry) {
	e.uint(uint64(len(list)))
	for _, x := range list {
		e.bytes([]byte(x.Node))
		e.bytes(x.Contact)
		e.uint(uint64(x.Layer))
		e.uint(uint64(x.Opening))
		e.uint(uint64(x.Free))
	}
}

var (
	errShort = errors.New("cut short")
	errRange = errors.New("number out of range")
)

// decoder reads a body; after the first error it yields zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *decoder) uint(max uint64) uint64 {
	n, size := binary.Uvarint(d.b)
	switch {
	case size == 0:
		d.fail(errShort)
		return 0
	case size < 0 || n > max:
		d.fail(errRange)
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) int(max uint64) int { return int(d.uint(max)) }

func (d *decoder) bytes(max uint64) []byte {
	n := d.uint(max)
	if n > uint64(len(d.b)) {
		d.fail(errShort)
		return nil
	}
	if n == 0 {
		return nil
	}
	out := append([]byte(nil), d.b[:n]...)
	d.b = d.b[n:]
	return out
}

// id is a NodeID that may not be empty.
func (d *decoder) id() NodeID {
	b := d.bytes(maxID)
	if len(b) == 0 {
		d.fail(errRange)
	}
	return NodeID(b)
}

func (d *decoder) delay() time.Duration {
	return time.Duration(d.uint(uint64(maxDelay/time.Microsecond))) * time.Microsecond
}

func (d *decoder) offer() Offer {
	o := Offer{
		ID:      OfferID(d.uint(1<<64 - 1)),
		Joiner:  d.id(),
		Purpose: Purpose(d.uint(uint64(purposes - 1))),
		Below:   d.int(maxCount - 1),
		Slots:   d.int(maxSlots),
		Avoid:   NodeID(d.bytes(maxID)),
		Raw:     d.bytes(maxRaw),
	}
	o.Reach, o.Up = d.standing()
	return o
}

// standing reads what nodes that are older than it leave out: then it is unknown. So is
// a kind of NAT that we do not know.
func (d *decoder) standing() (r Reach, up int) {
	if len(d.b) == 0 {
		return r, 0
	}
	if k := d.uint(255); k < uint64(nats) {
		r.NAT = NAT(k)
	}
	r.Site = uint16(d.uint(1<<16 - 1))
	return r, d.int(maxUp)
}

func (d *decoder) sum() Sum {
	s := Sum{
		Seen:    d.uint(1<<64 - 1),
		Slots:   d.int(maxSlots),
		Layers:  d.counts(),
		Open:    d.counts(),
		Contact: d.bytes(maxContact),
		Entries: d.entries(maxBelow),
	}
	s.Reach, s.Up = d.standing()
	for i := range s.Strict {
		if len(d.b) > 0 {
			s.Strict[i] = d.counts()
		}
	}
	return s
}

func (d *decoder) counts() []uint32 {
	n := d.int(maxPath)
	if n == 0 {
		return nil
	}
	if n > len(d.b) { // each takes at least a byte
		d.fail(errShort)
		return nil
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = uint32(d.uint(maxCount - 1))
	}
	return out
}

func (d *decoder) entries(max uint64) []Entry {
	n := d.int(max)
	if n == 0 {
		return nil
	}
	out := make([]Entry, n)
	for i := range out {
		out[i] = Entry{
			Node:    d.id(),
			Contact: d.bytes(maxContact),
			Layer:   d.int(maxPath),
			Opening: d.int(maxPath),
			Free:    d.int(maxCount - 1),
		}
	}
	return out
}
