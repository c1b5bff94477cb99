package dht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht/pgp"
)

// pgpKey is a new key pair: who admits sees the one, who joins has the other.
func pgpKey(t testing.TB, name string) (pgp.Recipient, *pgp.KeyFile) {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", "", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519})
	if err != nil {
		t.Fatal(err)
	}
	var public, private bytes.Buffer
	if err := errors.Join(e.Serialize(&public), e.SerializePrivate(&private, nil)); err != nil {
		t.Fatal(err)
	}
	to, err := pgp.ParseRecipients(public.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	own, err := pgp.ReadKeyFile(private.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return to[0], own
}

// closedRoom is a room with lock whose record's maker is "room".
func closedRoom(t testing.TB, epoch uint16, lock *Lock, err error) *Room {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return testRoom(t, RoomOptions{Name: "closed", Epoch: epoch, Lock: lock, Speakers: []peer.ID{newActor("speaker").pub.ID()}})
}

// reopen opens r's record as somebody who has only keys and the DHT, which holds r's wraps.
func reopen(t testing.TB, r *Room, keys Keys) (*Room, error) {
	return openRoom(t.Context(), r.ID, r.Record, then, keys, func(_ context.Context, at place) ([]byte, error) {
		raw := r.chunks[at]
		if err := (validator{func() time.Time { return then }}).Validate(dhtKey(kindWraps, r.key, at, nil), raw); err != nil {
			t.Errorf("a chunk is not stored: %v", err)
		}
		return raw, nil
	})
}

func TestPasswordRoom(t *testing.T) {
	id, secret := newActor("room").pub.ID(), NewSecret()
	lock, err := LockPassword(id, 3, secret, []byte("correct horse"))
	r := closedRoom(t, 3, lock, err)
	got, err := reopen(t, r, Keys{Password: []byte("correct horse")})
	if err != nil || got.Name != "closed" || got.secret != r.secret || got.Admission != Password || got.Epoch != 3 {
		t.Fatalf("opened as %+v: %v", got, err)
	}
	start := time.Now()
	if _, err := reopen(t, r, Keys{Password: []byte("wrong")}); !errors.Is(err, ErrRefused) {
		t.Errorf("a wrong password: %v", err)
	}
	t.Logf("the wrong password was found out after %v", time.Since(start))
	if _, err := reopen(t, r, Keys{}); !errors.Is(err, ErrClosedRoom) {
		t.Errorf("without a password: %v", err)
	}
	if r.secret == openSecret(r.key, 3) || bytes.Contains(r.Record, secret[:]) || bytes.Contains(r.Record, []byte("closed")) {
		t.Error("the record gives the secret or the name away")
	}
	// Signed again without the password, by whoever kept the lock.
	again := closedRoom(t, 3, lock, nil)
	if _, err := reopen(t, again, Keys{Password: []byte("correct horse")}); err != nil {
		t.Errorf("signed again: %v", err)
	}
	// The wrap of one epoch is none of another.
	if _, err := reopen(t, closedRoom(t, 4, lock, nil), Keys{Password: []byte("correct horse")}); !errors.Is(err, ErrRefused) {
		t.Errorf("moved to another epoch: %v", err)
	}
}

// Argon2id parameters that would cost a joiner too much, or protect too little, are refused.
func TestPasswordBounds(t *testing.T) {
	w := make([]byte, 4+nonceSize+secretSize+16)
	for _, c := range []struct {
		time byte
		mib  uint16
		p    byte
		ok   bool
	}{{3, 64, 4, true}, {10, 256, 16, true}, {1, 64, 1, true}, {11, 64, 4, false}, {0, 64, 4, false},
		{3, 63, 4, false}, {3, 257, 4, false}, {3, 64, 0, false}, {3, 64, 17, false}} {
		w[0], w[1], w[2], w[3] = c.time, byte(c.mib>>8), byte(c.mib), c.p
		if _, err := parsePasswordWrap(w); (err == nil) != c.ok {
			t.Errorf("t=%d, %d MiB, p=%d: %v", c.time, c.mib, c.p, err)
		}
	}
}

func TestPGPRoom(t *testing.T) {
	ann, annKey := pgpKey(t, "ann")
	bob, bobKey := pgpKey(t, "bob")
	_, eveKey := pgpKey(t, "eve")
	lock, err := LockPGP(NewSecret(), []pgp.Recipient{ann}, []pgp.Recipient{bob})
	r := closedRoom(t, 1, lock, err)
	for name, key := range map[string]*pgp.KeyFile{"ann": annKey, "bob, hidden,": bobKey} {
		if got, err := reopen(t, r, Keys{PGP: key}); err != nil || got.secret != r.secret {
			t.Errorf("%s does not get in: %v", name, err)
		}
	}
	if _, err := reopen(t, r, Keys{PGP: eveKey}); !errors.Is(err, ErrRefused) {
		t.Errorf("eve: %v", err)
	}
	// Removed: another secret, not wrapped to ann.
	lock, err = LockPGP(NewSecret(), nil, []pgp.Recipient{bob})
	next := closedRoom(t, 2, lock, err)
	if _, err := reopen(t, next, Keys{PGP: annKey}); !errors.Is(err, ErrRefused) {
		t.Errorf("ann after she was removed: %v", err)
	}
	if _, err := reopen(t, next, Keys{PGP: bobKey}); err != nil {
		t.Errorf("bob after ann was removed: %v", err)
	}
	if next.secret == r.secret || next.secret.place("head") == r.secret.place("head") {
		t.Error("a new epoch has the old secret")
	}
}

// 1,000 recipients: record and chunks are within their limits.
func TestThousandRecipients(t *testing.T) {
	ann, annKey := pgpKey(t, "ann")
	to := []pgp.Recipient{ann}
	for i := range 16 {
		r, _ := pgpKey(t, fmt.Sprint(i))
		to = append(to, r)
	}
	for i := 0; len(to) < 1000; i++ {
		r := to[1+i%16]
		r.Fingerprint = []byte(fmt.Sprint("fingerprint ", i))
		to = append(to, r)
	}
	start := time.Now()
	lock, err := LockPGP(NewSecret(), to, nil)
	r := closedRoom(t, 1, lock, err)
	made := time.Since(start)
	start = time.Now()
	if _, err := reopen(t, r, Keys{PGP: annKey}); err != nil {
		t.Fatal(err)
	}
	joined := time.Since(start)
	t.Logf("1,000 recipients: made in %v, opened in %v, record %d B, %d chunks", made, joined, len(r.Record), len(r.chunks))
	if len(r.Record) > 16<<10 {
		t.Errorf("the record has %d B", len(r.Record))
	}
}

func FuzzWrapped(f *testing.F) {
	lock, err := LockPassword(newActor("room").pub.ID(), 1, NewSecret(), []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(lock.Wrapped)
	ann, own := pgpKey(f, "ann")
	bob, _ := pgpKey(f, "bob")
	if lock, err = LockPGP(NewSecret(), []pgp.Recipient{ann}, []pgp.Recipient{bob}); err != nil {
		f.Fatal(err)
	}
	f.Add(lock.Wrapped)
	f.Add(lock.Chunks[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parsePasswordWrap(b)
		_, _ = findWraps(b, [tagSize]byte{})
		_, _ = unlockPGP(t.Context(), b, own, func(context.Context, place) ([]byte, error) { return b, nil })
		if w, err := parsePGPWrap(b); err == nil && !bytes.HasPrefix(b, w.append(nil)) {
			t.Error("a wrap is not what it was read from")
		}
	})
}
