package stream

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// SealSize is what sealing adds to a payload: the GCM tag.
const SealSize = 16

// ErrSeal means that a packet is of another key or epoch, or was forged.
var ErrSeal = errors.New("packet does not open")

// Sealer seals and opens payloads: AES-128-GCM, nonce = epoch (2 B) ‖ track (2 B) ‖
// number (8 B), the origin header as additional data (DESIGN 5). It is safe for
// concurrent use.
type Sealer struct {
	aead  cipher.AEAD
	epoch uint16
	// A nonce on the stack would escape through the interface: 12 bytes of garbage a packet.
	nonces sync.Pool
}

// NewSealer takes the stream's key for one epoch.
func NewSealer(key [16]byte, epoch uint16) (*Sealer, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Sealer{
		aead: aead, epoch: epoch,
		nonces: sync.Pool{New: func() any { return new([12]byte) }},
	}, nil
}

// Seal makes the Wire of a packet. The epoch of h is set to the sealer's own.
func (s *Sealer) Seal(h Header, payload []byte) []byte {
	h.Epoch = uint8(s.epoch)
	wire := h.Append(make([]byte, 0, HeaderSize+len(payload)+SealSize))
	n := s.nonce(h)
	defer s.nonces.Put(n)
	return s.aead.Seal(wire, n[:], payload, wire)
}

// Open appends the payload of wire to dst.
func (s *Sealer) Open(dst, wire []byte) ([]byte, error) {
	h, err := ParseHeader(wire)
	if err != nil {
		return dst, err
	}
	if h.Epoch != uint8(s.epoch) {
		return dst, fmt.Errorf("%w: sealed in another epoch", ErrSeal)
	}
	n := s.nonce(h)
	defer s.nonces.Put(n)
	out, err := s.aead.Open(dst, n[:], wire[HeaderSize:], wire[:HeaderSize])
	if err != nil {
		return dst, ErrSeal
	}
	return out, nil
}

func (s *Sealer) nonce(h Header) *[12]byte {
	n := s.nonces.Get().(*[12]byte)
	binary.BigEndian.PutUint16(n[0:], s.epoch)
	binary.BigEndian.PutUint16(n[2:], uint16(h.Track))
	binary.BigEndian.PutUint64(n[4:], h.Number)
	return n
}
