package dht

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// The plain envelope of every record:
//
//	0      version, 1
//	1      kind
//	2–33   writer: Ed25519 public key
//	34–41  seq: the writer's clock in ms since 1970, always growing
//	42–45  life in seconds, from receipt
//	46–    body
//	last 64 bytes: Ed25519 signature by the writer
//
// What is signed is "waterfall record\x00", the 16 bytes of the place (of the topic
// and the DHT key that the record is meant for, zero for rooms), and all bytes before
// the signature: a record can't be moved to another room or kind.
const (
	recordVersion = 1
	headerSize    = 46
	recordMin     = headerSize + ed25519.SignatureSize
	signDomain    = "waterfall record\x00"

	// clockTolerance is how far a writer's clock may be off. Ages are judged by
	// receipt; this only ends the replay of records that are days old.
	clockTolerance = 24 * time.Hour
)

type kind byte

const (
	kindRoom   kind = 1
	kindMember kind = 2
	kindHead   kind = 3
	kindOffer  kind = 4
	kindAnswer kind = 5
	kindAsk    kind = 6 // a joiner asks speakers to say their heads now; gossip only
	kindWraps  kind = 7 // a chunk of a PGP room's wraps; found by what it holds
)

// bounds of a kind: DESIGN section 3.
type bounds struct {
	name string // in DHT keys
	size int    // bytes, envelope included
	life time.Duration
}

func (k kind) bounds() (bounds, bool) {
	switch k {
	case kindRoom:
		return bounds{"room", 16 << 10, 30 * 24 * time.Hour}, true
	case kindMember:
		return bounds{"member", 512, 15 * time.Minute}, true
	case kindHead:
		return bounds{"head", maxMessage, 30 * time.Second}, true
	case kindOffer:
		return bounds{"offer", 1 << 10, 30 * time.Second}, true
	case kindAnswer:
		return bounds{"answer", maxMessage, 30 * time.Second}, true
	case kindAsk:
		return bounds{"ask", 256, 10 * time.Second}, true
	case kindWraps:
		return bounds{"wraps", 32 << 10, roomLife}, true
	}
	return bounds{}, false
}

// pubKey is a raw Ed25519 public key: a peer ID without its fixed prefix.
type pubKey [ed25519.PublicKeySize]byte

// idPrefix begins every Ed25519 peer ID: identity multihash of 36 bytes, protobuf
// key type 1 (Ed25519), 32 bytes of key (libp2p peer-ids specification).
const idPrefix = "\x00\x24\x08\x01\x12\x20"

func (k pubKey) ID() peer.ID { return peer.ID(idPrefix + string(k[:])) }

// keyOf is the public key inside an Ed25519 peer ID; ok is false for any other ID.
func keyOf(id peer.ID) (k pubKey, ok bool) {
	if len(id) != len(idPrefix)+len(k) || string(id[:len(idPrefix)]) != idPrefix {
		return k, false
	}
	copy(k[:], id[len(idPrefix):])
	return k, true
}

// edKey is the standard library's form of a libp2p Ed25519 key.
func edKey(k crypto.PrivKey) (ed25519.PrivateKey, error) {
	if k == nil || k.Type() != crypto.Ed25519 {
		return nil, errors.New("the key is not an Ed25519 key")
	}
	raw, err := k.Raw()
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	return ed25519.PrivateKey(raw), nil
}

func publicOf(k ed25519.PrivateKey) pubKey { return pubKey(k.Public().(ed25519.PublicKey)) }

// place names what a record is for: a topic and the matching part of a DHT key.
type place [16]byte

type header [headerSize]byte

func newHeader(k kind, writer pubKey, seq uint64, life time.Duration) (h header) {
	h[0], h[1] = recordVersion, byte(k)
	copy(h[2:], writer[:])
	binary.BigEndian.PutUint64(h[34:], seq)
	binary.BigEndian.PutUint32(h[42:], uint32(life/time.Second))
	return h
}

// sign completes a record.
func (h header) sign(key ed25519.PrivateKey, at place, body []byte) []byte {
	rec := make([]byte, 0, recordMin+len(body))
	rec = append(append(rec, h[:]...), body...)
	return append(rec, ed25519.Sign(key, signed(at, rec))...)
}

func signed(at place, rec []byte) []byte {
	b := make([]byte, 0, len(signDomain)+len(at)+len(rec))
	return append(append(append(b, signDomain...), at[:]...), rec...)
}

// record is a parsed envelope; nothing in it is to be believed before verify.
type record struct {
	kind   kind
	writer pubKey
	seq    uint64
	life   time.Duration
	header header
	body   []byte // aliases raw
	raw    []byte
}

// parseRecord checks form, size and life, not the signature.
func parseRecord(b []byte) (r record, err error) {
	if len(b) < recordMin {
		return r, errors.New("record too short")
	}
	if b[0] != recordVersion {
		return r, fmt.Errorf("record version %d is not known", b[0])
	}
	r.kind = kind(b[1])
	lim, ok := r.kind.bounds()
	if !ok {
		return r, fmt.Errorf("record kind %d is not known", b[1])
	}
	if len(b) > lim.size {
		return r, fmt.Errorf("%s record of %d bytes is longer than %d", lim.name, len(b), lim.size)
	}
	copy(r.header[:], b)
	copy(r.writer[:], b[2:])
	r.seq = binary.BigEndian.Uint64(b[34:])
	r.life = time.Duration(binary.BigEndian.Uint32(b[42:])) * time.Second
	if r.life <= 0 || r.life > lim.life {
		return r, fmt.Errorf("%s record with a life of %v, allowed are %v", lim.name, r.life, lim.life)
	}
	if r.seq >= 1<<53 {
		return r, errors.New("record seq out of range")
	}
	r.body, r.raw = b[headerSize:len(b)-ed25519.SignatureSize], b
	return r, nil
}

func (r *record) verify(at place) error {
	cut := len(r.raw) - ed25519.SignatureSize
	if !ed25519.Verify(r.writer[:], signed(at, r.raw[:cut]), r.raw[cut:]) {
		return errors.New("record signature is wrong")
	}
	return nil
}

// timely says whether the record may still be in use at now, allowing for clocks
// that are far off.
func (r *record) timely(now time.Time) error {
	made := time.UnixMilli(int64(r.seq))
	if made.After(now.Add(clockTolerance)) {
		return errors.New("record is from the future (hint: check this machine's clock)")
	}
	if made.Add(r.life).Before(now.Add(-clockTolerance)) {
		return errors.New("record has expired")
	}
	return nil
}

// check does it all: parse, kind, signature, time.
func check(b []byte, k kind, at place, now time.Time) (record, error) {
	r, err := parseRecord(b)
	if err != nil {
		return r, err
	}
	if r.kind != k {
		return r, fmt.Errorf("record kind %d instead of %d", r.kind, k)
	}
	if err := r.timely(now); err != nil {
		return r, err
	}
	return r, r.verify(at)
}

// clock is this host's wall clock and the source of its records' seqs: milliseconds
// since 1970, never the same twice.
type clock struct {
	skew time.Duration // tests: how wrong it is

	mu   sync.Mutex // guards last
	last uint64
}

func (c *clock) now() time.Time { return time.Now().Add(c.skew) }

func (c *clock) next() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, uint64(c.now().UnixMilli()))
	return c.last
}
