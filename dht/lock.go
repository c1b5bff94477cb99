package dht

import (
	"bytes"
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/argon2"

	"github.com/watergy/waterfall/dht/pgp"
)

// Argon2id (RFC 9106) of password rooms: what rooms are made with, and the bounds within
// which a record's parameters are accepted.
const (
	argonTime    = 3
	argonMemory  = 64 // MiB
	argonThreads = 4

	argonMaxTime    = 10
	argonMaxMemory  = 256
	argonMaxThreads = 16
)

// Bounds of PGP rooms.
const (
	maxHidden     = 16
	maxRecipients = 10_000
	maxChunks     = 128 // of wraps beside the record
	tagSize       = 8
	saltSize      = 16
	maxChunk      = 32<<10 - recordMin
)

// Lock is how a closed room's secret is kept for those who may have it, in one epoch.
// The room's maker keeps all of it, to sign the record again; the public sees Wrapped
// and Chunks.
type Lock struct {
	Admission Admission
	Secret    [secretSize]byte // what is wrapped
	Wrapped   []byte           // goes into the record
	Chunks    [][]byte         // beside the record, PGP only
}

// NewSecret draws the secret of an epoch.
func NewSecret() (s [secretSize]byte) {
	rand.Read(s[:])
	return s
}

// Keys open closed rooms; the zero value opens open rooms only.
type Keys struct {
	Password []byte
	PGP      pgp.Owner
	// Secret gives what the room's maker has kept: the secret of the room in an epoch.
	Secret func(room peer.ID, epoch uint16) (secret [secretSize]byte, ok bool)
}

// closedSecret binds what was wrapped to the room and the epoch.
func closedSecret(wrapped [secretSize]byte, room pubKey, epoch uint16) secret {
	salt := binary.BigEndian.AppendUint16(slices.Clone(room[:]), epoch)
	return secret(derive(wrapped[:], salt, "waterfall closed room", secretSize))
}

// LockPassword wraps secret under a password: time (1 B), memory in MiB (2 B), threads
// (1 B), nonce (12 B), and AES-256-GCM of the secret under
// Argon2id(password, salt = room key).
func LockPassword(room peer.ID, epoch uint16, secret [secretSize]byte, password []byte) (*Lock, error) {
	key, ok := keyOf(room)
	if !ok {
		return nil, fmt.Errorf("%s is no room ID", room)
	}
	if len(password) == 0 {
		return nil, errors.New("the password is empty (hint: put one on the file's first line)")
	}
	b := []byte{argonTime}
	b = binary.BigEndian.AppendUint16(b, argonMemory)
	b = append(b, argonThreads)
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	aead := passwordSeal(password, key, argonTime, argonMemory, argonThreads)
	return &Lock{
		Admission: Password, Secret: secret,
		Wrapped: aead.Seal(append(b, nonce...), nonce, secret[:], wrapContext(key, epoch)),
	}, nil
}

func passwordSeal(password []byte, room pubKey, time uint32, mib uint32, threads uint8) cipher.AEAD {
	b, err := aes.NewCipher(argon2.IDKey(password, room[:], time, mib<<10, threads, 32))
	if err != nil {
		panic("dht: aes: " + err.Error())
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		panic("dht: gcm: " + err.Error())
	}
	return a
}

func wrapContext(room pubKey, epoch uint16) []byte {
	return binary.BigEndian.AppendUint16(append([]byte("waterfall wrap\x00"), room[:]...), epoch)
}

// passwordWrap is the wrapped part of a password room's record, checked.
type passwordWrap struct {
	time, mib uint32
	threads   uint8
	nonce     []byte
	sealed    []byte
}

func parsePasswordWrap(b []byte) (w passwordWrap, err error) {
	r := reader{b: b}
	w.time, w.mib, w.threads = uint32(r.u8()), uint32(r.u16()), r.u8()
	w.nonce, w.sealed = r.take(nonceSize), r.take(secretSize+16)
	if r.err != nil {
		return w, r.err
	}
	if w.time < 1 || w.time > argonMaxTime || w.mib < argonMemory || w.mib > argonMaxMemory || w.threads < 1 || w.threads > argonMaxThreads {
		return w, fmt.Errorf("the record asks for Argon2id with %d passes, %d MiB, %d threads, which is out of bounds", w.time, w.mib, w.threads)
	}
	return w, nil
}

func unlockPassword(room pubKey, epoch uint16, wrapped, password []byte) (s [secretSize]byte, err error) {
	w, err := parsePasswordWrap(wrapped)
	if err != nil {
		return s, err
	}
	plain, err := passwordSeal(password, room, w.time, w.mib, w.threads).Open(nil, w.nonce, w.sealed, wrapContext(room, epoch))
	if err != nil || len(plain) != secretSize {
		return s, fmt.Errorf("%w: the password is wrong (hint: ask who gave you the ticket; it is given by --password-file, apart from the ticket)", ErrRefused)
	}
	return [secretSize]byte(plain), nil
}

// LockPGP wraps secret to OpenPGP keys; hidden ones (≤ 16) leave no mark by which even
// one who has their public key could find them.
func LockPGP(secret [secretSize]byte, to, hidden []pgp.Recipient) (*Lock, error) {
	switch {
	case len(to)+len(hidden) == 0:
		return nil, errors.New("nobody could enter (hint: name at least one key with --pgp-recipient)")
	case len(to) > maxRecipients:
		return nil, fmt.Errorf("%d keys are more than %d", len(to), maxRecipients)
	case len(hidden) > maxHidden:
		return nil, fmt.Errorf("%d hidden keys are more than %d (hint: who joins must try them all)", len(hidden), maxHidden)
	}
	data, keys, err := pgp.Wrap(secret[:], slices.Concat(to, hidden))
	if err != nil {
		return nil, err
	}
	w := pgpWrap{salt: make([]byte, saltSize), data: data, hidden: keys[len(to):]}
	rand.Read(w.salt)
	entries := make([]wrapEntry, len(to))
	for i, r := range to {
		entries[i] = wrapEntry{w.tag(r.Fingerprint), keys[i]}
	}
	slices.SortFunc(entries, func(a, b wrapEntry) int {
		return cmp.Or(bytes.Compare(a.tag[:], b.tag[:]), bytes.Compare(a.key, b.key))
	})
	l := &Lock{Admission: PGP, Secret: secret}
	var chunk []byte
	flush := func() {
		if len(chunk) > 0 {
			w.index = append(w.index, chunkRef{placeOf(chunk), [tagSize]byte(chunk)})
			l.Chunks = append(l.Chunks, chunk)
			chunk = nil
		}
	}
	for _, e := range entries {
		b := e.append(nil)
		if len(chunk)+len(b) > maxChunk {
			flush()
		}
		chunk = append(chunk, b...)
	}
	flush()
	if len(l.Chunks) > maxChunks {
		return nil, fmt.Errorf("the keys fill %d chunks, more than %d (hint: smaller or fewer keys)", len(l.Chunks), maxChunks)
	}
	l.Wrapped = w.append(nil)
	return l, nil
}

// placeOf is a chunk's address: it is found by what it holds.
func placeOf(chunk []byte) place {
	sum := sha256.Sum256(chunk)
	return place(sum[:len(place{})])
}

// wrapEntry is one recipient's wrap in a chunk: tag (8 B), length (2 B), PKESK packet.
// Chunks, and entries in them, are in the order of their tags.
type wrapEntry struct {
	tag [tagSize]byte
	key []byte
}

func (e wrapEntry) append(b []byte) []byte {
	b = append(b, e.tag[:]...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(e.key))), e.key...)
}

// findWraps gives the wraps in a chunk that are marked with tag.
func findWraps(chunk []byte, tag [tagSize]byte) (keys [][]byte, err error) {
	for r := (reader{b: chunk}); len(r.b) > 0; {
		t := r.take(tagSize)
		key := r.take(int(r.u16()))
		if r.err != nil {
			return nil, r.err
		}
		if bytes.Equal(t, tag[:]) && len(keys) < maxHidden {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// pgpWrap is the wrapped part of a PGP room's record: epoch salt (16 B), length (2 B)
// and bytes of the sealed data, number of hidden wraps (1 B), length (2 B) and bytes of
// each, number of chunks (1 B), and of each its place (16 B) and first tag (8 B).
type pgpWrap struct {
	salt   []byte
	data   []byte
	hidden [][]byte
	index  []chunkRef
}

type chunkRef struct {
	at    place
	first [tagSize]byte
}

// tag marks a wrap for the owner of the key.
func (w *pgpWrap) tag(fingerprint []byte) [tagSize]byte {
	m := hmac.New(sha256.New, w.salt)
	m.Write([]byte("waterfall recipient\x00"))
	m.Write(fingerprint)
	return [tagSize]byte(m.Sum(nil))
}

func (w *pgpWrap) append(b []byte) []byte {
	part := func(p []byte) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...) }
	b = append(b, w.salt...)
	part(w.data)
	b = append(b, byte(len(w.hidden)))
	for _, h := range w.hidden {
		part(h)
	}
	b = append(b, byte(len(w.index)))
	for _, c := range w.index {
		b = append(append(b, c.at[:]...), c.first[:]...)
	}
	return b
}

func parsePGPWrap(b []byte) (w pgpWrap, err error) {
	r := reader{b: b}
	w.salt, w.data = r.take(saltSize), r.take(int(r.u16()))
	n := int(r.u8())
	if n > maxHidden {
		return w, fmt.Errorf("%d hidden wraps are more than %d", n, maxHidden)
	}
	for ; n > 0 && r.err == nil; n-- {
		w.hidden = append(w.hidden, r.take(int(r.u16())))
	}
	if n = int(r.u8()); n > maxChunks {
		return w, fmt.Errorf("%d chunks are more than %d", n, maxChunks)
	}
	for ; n > 0 && r.err == nil; n-- {
		var c chunkRef
		copy(c.at[:], r.take(len(c.at)))
		copy(c.first[:], r.take(tagSize))
		w.index = append(w.index, c)
	}
	return w, r.err
}

// holding are the chunks that may hold a tag: entries with equal tags may be spread.
func (w *pgpWrap) holding(tag [tagSize]byte) (list []place) {
	for i, c := range w.index {
		if bytes.Compare(c.first[:], tag[:]) <= 0 && (i+1 == len(w.index) || bytes.Compare(tag[:], w.index[i+1].first[:]) <= 0) {
			list = append(list, c.at)
		}
	}
	return list
}

// chunkFunc gets the chunk of a room's wraps at a place.
type chunkFunc func(ctx context.Context, at place) ([]byte, error)

func unlockPGP(ctx context.Context, wrapped []byte, owner pgp.Owner, chunks chunkFunc) (s [secretSize]byte, err error) {
	w, err := parsePGPWrap(wrapped)
	if err != nil {
		return s, err
	}
	prints, err := owner.Fingerprints(ctx)
	if err != nil {
		return s, err
	}
	// What another did wrong with one of several keys must not hide that a second one fits.
	try := func(fingerprint []byte, keys [][]byte) (ok bool, err error) {
		plain, err := owner.Unwrap(ctx, fingerprint, keys, w.data)
		if err == nil && len(plain) == secretSize {
			s = [secretSize]byte(plain)
			return true, nil
		}
		if errors.Is(err, pgp.ErrNotOurs) {
			err = nil
		}
		return false, err
	}
	var trouble error
	for _, p := range prints {
		tag := w.tag(p)
		for _, at := range w.holding(tag) {
			chunk, err := chunks(ctx, at)
			if err != nil {
				trouble = err
				continue
			}
			keys, err := findWraps(chunk, tag)
			if err != nil {
				trouble = err
				continue
			}
			for _, k := range keys {
				ok, err := try(p, [][]byte{k})
				if ok {
					return s, nil
				}
				trouble = cmp.Or(trouble, err)
			}
		}
	}
	if len(w.hidden) > 0 {
		ok, err := try(nil, w.hidden)
		if ok {
			return s, nil
		}
		trouble = cmp.Or(trouble, err)
	}
	if trouble != nil {
		return s, fmt.Errorf("unwrapping the room's secret: %w", trouble)
	}
	return s, fmt.Errorf("%w: none of your OpenPGP keys is admitted (hint: the room's maker can admit it: wfnode room admit ROOM KEYFILE)", ErrRefused)
}

// unlock finds the secret of a closed room's epoch.
func (k Keys) unlock(ctx context.Context, room pubKey, a Admission, epoch uint16, wrapped []byte, chunks chunkFunc) (s [secretSize]byte, err error) {
	if k.Secret != nil {
		if s, ok := k.Secret(room.ID(), epoch); ok {
			return s, nil
		}
	}
	switch {
	case a == Password && len(k.Password) > 0:
		return unlockPassword(room, epoch, wrapped, k.Password)
	case a == PGP && k.PGP != nil:
		return unlockPGP(ctx, wrapped, k.PGP, chunks)
	case a == Password:
		return s, ErrNeedsPassword
	}
	return s, ErrNeedsKey
}
