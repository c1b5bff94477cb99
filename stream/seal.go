package stream

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// SealSize is what sealing adds to a payload: the GCM tag.
const SealSize = 16

// ErrSeal means that a packet is of another key or epoch, or was forged.
var ErrSeal = errors.New("packet does not open")

// maxEpochs is how many keys a Sealer holds: that in use, the next, and one more for a
// second change that follows at once.
const maxEpochs = 3

// Sealer seals and opens payloads: AES-128-GCM, nonce = epoch (2 B) ‖ track (2 B) ‖
// number (8 B), the origin header as additional data (DESIGN 5). It holds the keys of
// the newest epochs and opens packets of each. It is safe for concurrent use.
type Sealer struct {
	mu   sync.Mutex // one change at a time
	keys atomic.Pointer[[]epochKey]
	seal atomic.Pointer[epochKey]
	// A nonce on the stack would escape through the interface: 12 bytes of garbage a packet.
	nonces sync.Pool
}

type epochKey struct {
	aead  cipher.AEAD
	epoch uint16
}

// NewSealer takes the stream's key for one epoch.
func NewSealer(key [16]byte, epoch uint16) (*Sealer, error) {
	s := &Sealer{nonces: sync.Pool{New: func() any { return new([12]byte) }}}
	s.keys.Store(&[]epochKey{})
	if err := s.Add(key, epoch); err != nil {
		return nil, err
	}
	s.Advance()
	return s, nil
}

// Add takes the stream's key for a further epoch: packets of it open from now on. It
// seals from Advance on.
func (s *Sealer) Add(key [16]byte, epoch uint16) error {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held := *s.keys.Load()
	keys := []epochKey{{aead, epoch}} // newest first
	for _, k := range held {
		if uint8(k.epoch) != uint8(epoch) && len(keys) < maxEpochs {
			keys = append(keys, k)
		}
	}
	s.keys.Store(&keys)
	return nil
}

// Advance makes Seal use the newest epoch.
func (s *Sealer) Advance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seal.Store(&(*s.keys.Load())[0])
}

// Epoch is that of Seal.
func (s *Sealer) Epoch() uint16 { return s.seal.Load().epoch }

// Seal makes the Wire of a packet. The epoch of h is set to the sealer's own.
func (s *Sealer) Seal(h Header, payload []byte) []byte {
	k := s.seal.Load()
	h.Epoch = uint8(k.epoch)
	wire := h.Append(make([]byte, 0, HeaderSize+len(payload)+SealSize))
	n := s.nonce(h, k.epoch)
	defer s.nonces.Put(n)
	return k.aead.Seal(wire, n[:], payload, wire)
}

// Open appends the payload of wire to dst.
func (s *Sealer) Open(dst, wire []byte) ([]byte, error) {
	h, err := ParseHeader(wire)
	if err != nil {
		return dst, err
	}
	for _, k := range *s.keys.Load() {
		if uint8(k.epoch) != h.Epoch {
			continue
		}
		n := s.nonce(h, k.epoch)
		defer s.nonces.Put(n)
		out, err := k.aead.Open(dst, n[:], wire[HeaderSize:], wire[:HeaderSize])
		if err != nil {
			return dst, ErrSeal
		}
		return out, nil
	}
	return dst, fmt.Errorf("%w: sealed in another epoch", ErrSeal)
}

func (s *Sealer) nonce(h Header, epoch uint16) *[12]byte {
	n := s.nonces.Get().(*[12]byte)
	binary.BigEndian.PutUint16(n[0:], epoch)
	binary.BigEndian.PutUint16(n[2:], uint16(h.Track))
	binary.BigEndian.PutUint64(n[4:], h.Number)
	return n
}
