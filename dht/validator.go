package dht

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// namespace is the first part of every key of ours in the DHT.
const namespace = "waterfall"

var b64 = base64.RawURLEncoding.Strict()

// decode64 takes only what b64 writes: the decoder skips line breaks, and so would give one
// value many names.
func decode64(s string) (b []byte, ok bool) {
	b, err := b64.DecodeString(s)
	return b, err == nil && len(s) == b64.EncodedLen(len(b))
}

// dhtKey is where a value lives: /waterfall/<kind>/<writer>[/<place>[/<slot>]], binary
// parts in base64url. It names the writer, so nobody can overwrite another's value.
// A slot tells several values of one writer in one place apart (offers for several streams).
func dhtKey(k kind, writer pubKey, at place, slot []byte) string {
	lim, _ := k.bounds()
	s := "/" + namespace + "/" + lim.name + "/" + b64.EncodeToString(writer[:])
	if k != kindRoom {
		s += "/" + b64.EncodeToString(at[:])
	}
	if len(slot) > 0 {
		s += "/" + b64.EncodeToString(slot)
	}
	return s
}

// stored are the kinds that the DHT takes.
var stored = [...]kind{kindRoom, kindMember, kindHead, kindOffer, kindAnswer, kindWraps}

// parseKey takes a DHT key apart.
func parseKey(key string) (k kind, writer pubKey, at place, err error) {
	bad := fmt.Errorf("key %q is none of ours", brief(key))
	if len(key) > 160 {
		return k, writer, at, bad
	}
	part := strings.Split(key, "/")
	if len(part) < 4 || len(part) > 6 || part[0] != "" || part[1] != namespace {
		return k, writer, at, bad
	}
	for _, c := range stored {
		if lim, _ := c.bounds(); lim.name == part[2] {
			k = c
		}
	}
	w, ok := decode64(part[3])
	if k == 0 || !ok || len(w) != len(writer) || (k == kindRoom) != (len(part) == 4) {
		return k, writer, at, bad
	}
	copy(writer[:], w)
	if k == kindRoom {
		return k, writer, at, nil
	}
	p, ok := decode64(part[4])
	if !ok || len(p) != len(at) {
		return k, writer, at, bad
	}
	copy(at[:], p)
	if len(part) == 6 {
		if slot, ok := decode64(part[5]); !ok || len(slot) == 0 || len(slot) > 16 {
			return k, writer, at, bad
		}
	}
	return k, writer, at, nil
}

// validator is what every DHT server checks before it stores, and every reader
// before it believes: the key names the writer, who signed for that place.
type validator struct{ now func() time.Time }

// Validate implements record.Validator.
func (v validator) Validate(key string, value []byte) error {
	k, writer, at, err := parseKey(key)
	if err != nil {
		return err
	}
	r, err := check(value, k, at, v.now())
	if err == nil && r.writer != writer {
		err = errors.New("the record is not by the writer that its key names")
	}
	if err == nil && k == kindWraps && placeOf(r.body) != at {
		err = errors.New("the chunk does not hold what its key says")
	}
	return err
}

// Select implements record.Validator: the highest seq, the first among equals.
func (v validator) Select(_ string, values [][]byte) (int, error) {
	best, top := -1, uint64(0)
	for i, b := range values {
		if r, err := parseRecord(b); err == nil && (best < 0 || r.seq > top) {
			best, top = i, r.seq
		}
	}
	if best < 0 {
		return 0, errors.New("no record among the values")
	}
	return best, nil
}
