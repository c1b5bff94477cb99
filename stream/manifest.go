package stream

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"
)

// ErrManifest wraps what is wrong with a manifest: not of its form, or not signed by
// the speaker.
var ErrManifest = errors.New("bad manifest")

const (
	manifestVersion    = 1
	manifestHead       = 11 // version, parts, epoch, number, count of runs
	runHead            = 8  // track, from, count of sums
	sumSize            = 12
	manifestEvery      = 100 * time.Millisecond // with video …
	manifestEveryAudio = 400 * time.Millisecond // … and without: its packets are few, a signature weighs more

	// What is hashed and what is signed begin differently, so that neither can pass for
	// the other, nor for anything else that a node's key signs.
	sumDomain  = "waterfall/packet\x00"
	signDomain = "waterfall/manifest\x00"
)

// sum is a packet's hash in a manifest: SHA-256 of sumDomain ‖ stream ID ‖ wire, its
// first 96 bits. Nobody but the speaker picks what is signed, so it is second preimages
// that must be hard.
type sum [sumSize]byte

// summer makes sums of one stream's packets. It is not safe for concurrent use.
type summer struct {
	prefix []byte
	digest hash.Hash
	out    [sha256.Size]byte
}

func newSummer(id ID) *summer {
	return &summer{prefix: append([]byte(sumDomain), id[:]...), digest: sha256.New()}
}

func (s *summer) sum(wire []byte) sum {
	s.digest.Reset()
	s.digest.Write(s.prefix)
	s.digest.Write(wire)
	return sum(s.digest.Sum(s.out[:0])[:sumSize])
}

// span is the sums of numbers from, from+1, … of a track.
type span struct {
	track Track
	from  uint64
	sums  []byte
}

func (r span) len() int      { return len(r.sums) / sumSize }
func (r span) to() uint64    { return r.from + uint64(r.len()) }
func (r span) sum(i int) sum { return sum(r.sums[i*sumSize:]) }

// manifest is the speaker's signed word for what it has sent since the one before. A
// batch takes one packet or more (parts) of the manifest track; all leave a second time
// with the next batch, as copies that differ in nothing but the number in the origin
// header: number + parts.
type manifest struct {
	epoch  uint16
	parts  uint8
	number uint64 // of its first copy
	runs   []span // by track, each at most once
}

// manifestHeader is the one origin header that packet number of the track may have.
func manifestHeader(id ID, epoch uint16, number uint64) Header {
	return Header{Epoch: uint8(epoch), Tag: id.Tag(), Track: ManifestTrack, Number: number}
}

// appendBody encodes m without its signature (docs/protocol-manifest.md).
//
//	0     version, 1
//	1     parts
//	2–3   epoch
//	4–9   number of the first copy
//	10    count of runs, then for each:
//	      track (1) from (6) count (1) sums (12 each)
func (m manifest) appendBody(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, manifestVersion, m.parts), m.epoch)
	b = append(append48(b, m.number), byte(len(m.runs)))
	for _, r := range m.runs {
		b = append(append48(append(b, byte(r.track)), r.from), byte(r.len()))
		b = append(b, r.sums...)
	}
	return b
}

// seal makes the Wire of m's first copy. A manifest is signed, not sealed: it says
// nothing that whoever carries the packets cannot see.
func (m manifest) seal(id ID, key ed25519.PrivateKey) []byte {
	wire := m.appendBody(manifestHeader(id, m.epoch, m.number).Append(nil))
	return append(wire, ed25519.Sign(key, signedBytes(id, wire[HeaderSize:]))...)
}

func signedBytes(id ID, body []byte) []byte {
	b := make([]byte, 0, len(signDomain)+len(id)+len(body))
	return append(append(append(b, signDomain...), id[:]...), body...)
}

// copyOf is the Wire of the second copy.
func copyOf(wire []byte, h Header) []byte {
	return append(h.Append(make([]byte, 0, len(wire))), wire[HeaderSize:]...)
}

// parseManifest reads a packet of the manifest track; whether it is signed is for
// verifyManifest to say. The sums alias wire. Bounded; never panics. What is signed has
// one form only, so anything unexpected is an error.
func parseManifest(id ID, wire []byte) (manifest, error) {
	fail := func(what string) (manifest, error) {
		return manifest{}, fmt.Errorf("%w: %s", ErrManifest, what)
	}
	if len(wire) < HeaderSize+manifestHead+ed25519.SignatureSize {
		return fail("cut short")
	}
	b := wire[HeaderSize : len(wire)-ed25519.SignatureSize]
	if b[0] != manifestVersion {
		return fail("version")
	}
	m := manifest{parts: b[1], epoch: binary.BigEndian.Uint16(b[2:]), number: uint48(b[4:])}
	count := int(b[10])
	b = b[manifestHead:]
	if count >= MaxTracks {
		return fail("runs")
	}
	m.runs = make([]span, 0, count)
	for range count {
		if len(b) < runHead {
			return fail("cut short")
		}
		r, size := span{track: Track(b[0]), from: uint48(b[1:])}, int(b[7])*sumSize
		if b = b[runHead:]; len(b) < size || size == 0 {
			return fail("cut short")
		}
		r.sums, b = b[:size], b[size:]
		if r.track >= ManifestTrack || len(m.runs) > 0 && r.track <= m.runs[len(m.runs)-1].track || r.to() > MaxNumber {
			return fail("runs")
		}
		m.runs = append(m.runs, r)
	}
	if len(b) > 0 {
		return fail("bytes after the runs")
	}
	h, err := ParseHeader(wire)
	if err != nil {
		return manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if h.Number != m.number && h.Number != m.number+uint64(m.parts) || m.parts == 0 {
		return fail("number")
	}
	if want := manifestHeader(id, m.epoch, h.Number).Append(nil); !bytes.Equal(want, wire[:HeaderSize]) {
		return fail("origin header")
	}
	return m, nil
}

// verifyManifest reports whether key signed the manifest of wire for stream id.
func verifyManifest(id ID, key ed25519.PublicKey, wire []byte) error {
	end := len(wire) - ed25519.SignatureSize
	if !ed25519.Verify(key, signedBytes(id, wire[HeaderSize:end]), wire[end:]) {
		return fmt.Errorf("%w: signature", ErrManifest)
	}
	return nil
}

func append48(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(n>>32)), uint32(n))
}

func uint48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}
