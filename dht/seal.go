package dht

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// A room's secrets: everything its members say is found and sealed under keys
// derived from the 32 bytes of the epoch's secret by HKDF-SHA256 (RFC 5869), with
// the purpose as info, so an outsider can't link any of it to the room.
const (
	secretSize = 32
	keySize    = 16 // AES-128
	nonceSize  = 12
	sealCost   = nonceSize + 16 // nonce and tag
)

type secret [secretSize]byte

func derive(ikm, salt []byte, info string, n int) []byte {
	k, err := hkdf.Key(sha256.New, ikm, salt, info, n)
	if err != nil { // only for n > 255 hashes or FIPS-only mode with short keys
		panic("dht: hkdf: " + err.Error())
	}
	return k
}

// openSecret is an open room's secret: whoever knows the room ID has it.
func openSecret(room pubKey, epoch uint16) (s secret) {
	copy(s[:], derive(room[:], binary.BigEndian.AppendUint16(nil, epoch), "waterfall open room", secretSize))
	return s
}

func (s *secret) key(purpose string) []byte {
	return derive(s[:], nil, "waterfall seal "+purpose, keySize)
}

// name is an opaque name for purpose: HMAC-SHA256 under a key for names only.
func (s *secret) name(purpose string, rest ...[]byte) []byte {
	m := hmac.New(sha256.New, derive(s[:], nil, "waterfall names", secretSize))
	m.Write([]byte(purpose))
	m.Write([]byte{0})
	for _, r := range rest {
		m.Write(r)
	}
	return m.Sum(nil)
}

func (s *secret) place(purpose string) place { return place(s.name(purpose)[:len(place{})]) }

// rendezvous is the CID under which members provide; bucket is a time slice (0: none).
func (s *secret) rendezvous(purpose string, rest []byte, bucket uint64) cid.Cid {
	sum := s.name(purpose, rest, binary.BigEndian.AppendUint64(nil, bucket))
	h, err := mh.Encode(sum, mh.SHA2_256)
	if err != nil {
		panic("dht: multihash: " + err.Error())
	}
	return cid.NewCidV1(cid.Raw, h)
}

func gcm(key []byte) cipher.AEAD {
	b, err := aes.NewCipher(key)
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCM(b); err == nil {
			return a
		}
	}
	panic("dht: aes: " + err.Error())
}

// seal seals plain for the room: random nonce ‖ AES-128-GCM, bound to the envelope's header.
func (s *secret) seal(purpose string, h header, plain []byte) []byte {
	out := make([]byte, nonceSize, nonceSize+len(plain)+16)
	rand.Read(out)
	return gcm(s.key(purpose)).Seal(out, out, plain, h[:])
}

func (s *secret) open(purpose string, h header, sealed []byte) ([]byte, error) {
	if len(sealed) < sealCost {
		return nil, errors.New("sealed body too short")
	}
	plain, err := gcm(s.key(purpose)).Open(nil, sealed[:nonceSize], sealed[nonceSize:], h[:])
	if err != nil {
		return nil, fmt.Errorf("the %s does not open with this room's key", purpose)
	}
	return plain, nil
}

// Keys used for one message only may have a fixed nonce.
var zeroNonce [nonceSize]byte

func sealOnce(key []byte, h header, dst, plain []byte) []byte {
	return gcm(key).Seal(dst, zeroNonce[:], plain, h[:])
}

func openOnce(key []byte, h header, sealed []byte) ([]byte, error) {
	return gcm(key).Open(nil, zeroNonce[:], sealed, h[:])
}

// boxKey agrees on the key of one message between two X25519 boxes (RFC 7748). The
// header holds the writer and a seq it never uses twice, so the key is never used twice.
func boxKey(mine *ecdh.PrivateKey, theirs [32]byte, purpose string, h header, salt []byte) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(theirs[:])
	if err != nil {
		return nil, err
	}
	shared, err := mine.ECDH(pub) // refuses points of low order
	if err != nil {
		return nil, err
	}
	return derive(shared, salt, "waterfall "+purpose+" "+string(h[:]), keySize), nil
}
