// Package pgp wraps a room's secret to OpenPGP keys (RFC 9580) and unwraps it, with a
// key file or through the user's own gpg. It knows no room and no network.
//
// What is wrapped is one message of many recipients, kept in parts: the sealed data
// once (a SEIPD packet, version 1, which gpg reads), and for each recipient the packet
// that holds the session key (a PKESK packet, version 3, without key ID, so that it
// does not name whose it is).
package pgp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

const (
	maxFile   = 16 << 20 // of keys
	maxSecret = 1 << 10  // what is unwrapped
	cipher    = packet.CipherAES256
)

// ErrNotOurs: none of the keys at hand opens the message.
var ErrNotOurs = errors.New("it is not wrapped to a key of yours")

// Owner holds private keys, which it does not give away.
type Owner interface {
	// Fingerprints are those of the primary keys.
	Fingerprints(ctx context.Context) ([][]byte, error)
	// Unwrap opens data with a session key that is wrapped in one of keys, for the key
	// with this fingerprint, or if that is nil for any. ErrNotOurs: it does not open.
	Unwrap(ctx context.Context, fingerprint []byte, keys [][]byte, data []byte) ([]byte, error)
}

// Recipient is a public key that can be encrypted to.
type Recipient struct {
	Fingerprint []byte // of the primary key
	Name        string // its main user ID; a claim of whoever made the key
	entity      *openpgp.Entity
	key         *packet.PublicKey
}

// ParseRecipients reads public keys, armored or as gpg --export makes them.
func ParseRecipients(b []byte) ([]Recipient, error) {
	entities, err := readKeys(b)
	if err != nil {
		return nil, fmt.Errorf("no OpenPGP key can be read: %w (hint: gpg --export --armor NAME makes such a file)", err)
	}
	var list []Recipient
	for _, e := range entities {
		r := Recipient{Fingerprint: e.PrimaryKey.Fingerprint, entity: e}
		if _, id := e.PrimaryIdentity(time.Now(), nil); id != nil {
			r.Name = id.Name
		}
		k, err := e.EncryptionKeyWithError(time.Now(), nil)
		if err != nil {
			return nil, fmt.Errorf("the key %X of %q can't be encrypted to: %w (hint: has it expired, or been revoked?)", r.Fingerprint, r.Name, err)
		}
		if !packed(k.PublicKey) {
			return nil, fmt.Errorf("the key %X of %q is of a kind that rooms do not take (hint: RSA, cv25519, X25519 and the NIST curves are)", r.Fingerprint, r.Name)
		}
		r.key = k.PublicKey
		list = append(list, r)
	}
	return list, nil
}

// packed says whether wraps to k fit (some hundred bytes each) and gpg's form of a message.
func packed(k *packet.PublicKey) bool {
	if k.Version != 4 {
		return false
	}
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSAEncryptOnly:
		bits, err := k.BitLength()
		return err == nil && bits >= 2048 && bits <= 8192
	case packet.PubKeyAlgoECDH, packet.PubKeyAlgoX25519, packet.PubKeyAlgoX448:
		return true
	}
	return false
}

// Marshal is the public key in binary form.
func (r Recipient) Marshal() ([]byte, error) {
	var b bytes.Buffer
	if err := r.entity.Serialize(&b); err != nil {
		return nil, fmt.Errorf("writing a public key: %w", err)
	}
	return b.Bytes(), nil
}

// readKeys reads the keys of a file, of which there is at least one.
func readKeys(b []byte) (openpgp.EntityList, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("the file has %d bytes, more than %d", len(b), maxFile)
	}
	var list openpgp.EntityList
	var err error
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")) {
		// Several blocks may follow each other: cat makes such files.
		for r := bytes.NewReader(b); err == nil; {
			var block *armor.Block
			if block, err = armor.Decode(r); err != nil {
				break
			}
			var some openpgp.EntityList
			if some, err = openpgp.ReadKeyRing(block.Body); err == nil {
				list = append(list, some...)
			}
		}
		if errors.Is(err, io.EOF) && len(list) > 0 {
			err = nil
		}
	} else {
		list, err = openpgp.ReadKeyRing(bytes.NewReader(b))
	}
	if err == nil && len(list) == 0 {
		err = errors.New("it holds no key")
	}
	return list, err
}

// Wrap encrypts secret: data, and for each recipient the packet with the session key.
func Wrap(secret []byte, to []Recipient) (data []byte, keys [][]byte, err error) {
	session := make([]byte, cipher.KeySize())
	rand.Read(session)
	for _, r := range to {
		var b bytes.Buffer
		if err := packet.SerializeEncryptedKeyAEADwithHiddenOption(&b, r.key, cipher, false, session, true, nil); err != nil {
			return nil, nil, fmt.Errorf("wrapping to the key %X of %q: %w", r.Fingerprint, r.Name, err)
		}
		keys = append(keys, b.Bytes())
	}
	var b bytes.Buffer
	sealed, err := packet.SerializeSymmetricallyEncrypted(&b, cipher, false, packet.CipherSuite{}, session, nil)
	if err == nil {
		var plain io.WriteCloser
		if plain, err = packet.SerializeLiteral(sealed, true, "", 0); err == nil {
			_, err = plain.Write(secret)
			err = cmp.Or(err, plain.Close()) // closes sealed as well
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("wrapping: %w", err)
	}
	return b.Bytes(), keys, nil
}

// KeyFile is an Owner with keys from a file, unlocked in memory.
type KeyFile struct{ keys openpgp.EntityList }

// ReadKeyFile reads private keys, armored or binary. passphrase is asked for once, if
// one of them is locked.
func ReadKeyFile(b []byte, passphrase func() ([]byte, error)) (*KeyFile, error) {
	keys, err := readKeys(b)
	if err != nil {
		return nil, fmt.Errorf("no OpenPGP key can be read: %w (hint: gpg --export-secret-keys --armor NAME makes such a file)", err)
	}
	var phrase []byte
	f := &KeyFile{}
	for _, e := range keys {
		if e.PrivateKey == nil {
			continue
		}
		if locked(e) {
			if phrase == nil {
				if phrase, err = passphrase(); err != nil {
					return nil, err
				}
			}
			if err := e.DecryptPrivateKeys(phrase); err != nil {
				return nil, fmt.Errorf("%w: the key %X does not open with this passphrase", ErrNotOurs, e.PrimaryKey.Fingerprint)
			}
		}
		f.keys = append(f.keys, e)
	}
	if len(f.keys) == 0 {
		return nil, errors.New("the file holds only public keys (hint: gpg --export-secret-keys makes one with the private keys; or use --gpg)")
	}
	return f, nil
}

func locked(e *openpgp.Entity) bool {
	if e.PrivateKey.Encrypted {
		return true
	}
	for _, s := range e.Subkeys {
		if s.PrivateKey != nil && s.PrivateKey.Encrypted {
			return true
		}
	}
	return false
}

// Fingerprints implements Owner.
func (f *KeyFile) Fingerprints(context.Context) ([][]byte, error) {
	var list [][]byte
	for _, e := range f.keys {
		list = append(list, e.PrimaryKey.Fingerprint)
	}
	return list, nil
}

// Unwrap implements Owner.
func (f *KeyFile) Unwrap(_ context.Context, fingerprint []byte, keys [][]byte, data []byte) ([]byte, error) {
	var ring openpgp.EntityList
	for _, e := range f.keys {
		if fingerprint == nil || bytes.Equal(fingerprint, e.PrimaryKey.Fingerprint) {
			ring = append(ring, e)
		}
	}
	md, err := openpgp.ReadMessage(bytes.NewReader(message(keys, data)), ring, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("%w (%v)", ErrNotOurs, err)
	}
	plain, err := io.ReadAll(io.LimitReader(md.UnverifiedBody, maxSecret))
	if err != nil {
		return nil, fmt.Errorf("%w (%v)", ErrNotOurs, err)
	}
	return plain, nil
}

func message(keys [][]byte, data []byte) []byte {
	return append(bytes.Join(keys, nil), data...)
}

// address puts a key ID into a PKESK packet that has none, in place; false if it is of
// another form.
func address(pkesk []byte, id uint64) bool {
	at := 2 // tag and a length of one octet (RFC 9580 section 4.2.1)
	if len(pkesk) > 1 && pkesk[1] >= 192 {
		at = 3
	}
	if len(pkesk) < at+10 || pkesk[0] != 0xc0|1 || pkesk[at] != 3 || binary.BigEndian.Uint64(pkesk[at+1:]) != 0 {
		return false
	}
	binary.BigEndian.PutUint64(pkesk[at+1:], id)
	return true
}
