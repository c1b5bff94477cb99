package dht

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	offerLife    = 30 * time.Second
	maxOfferBody = 600  // fits the 1 KiB of an offer record
	maxAnswer    = 3500 // fits maxMessage
	shards       = 16   // of the answers topic

	answerDomain = "waterfall answer\x00"
)

// Offer is a joiner's wish, as its receiver sees it.
type Offer struct {
	Stream [16]byte
	Joiner peer.ID
	Box    [32]byte // answers are sealed to this
	ID     uint64   // chosen by the joiner; the answer repeats it
	Body   []byte   // opaque (≤ 230 B to keep the sealed record ≤ 450 B)
	Via    Signal   // carrier that brought it first; "" if handed down

	record  []byte // the signed envelope
	content []byte // the key to its content
	seq     uint64
}

// Answer is what an offer led to.
type Answer struct {
	Stream [16]byte
	From   peer.ID // the writer
	Box    [32]byte
	ID     uint64 // of the offer
	Body   []byte // opaque
	Via    Signal
}

// Forward is what may be handed down the tree: the key to the content and the signed
// envelope, so that every node on the way can check who wrote it.
func (o Offer) Forward() []byte { return slices.Concat(o.content, o.record) }

// sealOffer makes an offer record. Its body, sealed for the room: stream (16 B), the
// joiner's box (32 B), and sealed under the content key: offer ID (8 B), body. The
// content key comes from the two boxes, so only the entry has it; whoever is handed
// the key can read this offer and nothing else.
func sealOffer(s *secret, key ed25519.PrivateKey, box *ecdh.PrivateKey, seq uint64, stream [16]byte, to [32]byte, id uint64, body []byte) (rec, content []byte, err error) {
	if len(body) > maxOfferBody {
		return nil, nil, fmt.Errorf("the offer's body has %d bytes, more than %d", len(body), maxOfferBody)
	}
	h := newHeader(kindOffer, publicOf(key), seq, offerLife)
	if content, err = boxKey(box, to, "offer", h, nil); err != nil {
		return nil, nil, fmt.Errorf("sealing the offer to its entry: %w", err)
	}
	plain := append(slices.Clone(stream[:]), box.PublicKey().Bytes()...)
	plain = sealOnce(content, h, plain, append(binary.BigEndian.AppendUint64(nil, id), body...))
	return h.sign(key, s.place("offers"), s.seal("offer", h, plain)), content, nil
}

// openOffer opens a checked offer record with the content key, or if content is nil
// with the box that it may be sealed to.
func openOffer(s *secret, rec record, box *ecdh.PrivateKey, content []byte) (o Offer, err error) {
	plain, err := s.open("offer", rec.header, rec.body)
	if err != nil {
		return o, err
	}
	r := reader{b: plain}
	o = Offer{Joiner: rec.writer.ID(), Stream: r.stream(), Box: r.box(), seq: rec.seq}
	if r.err != nil {
		return o, r.err
	}
	if content == nil {
		if content, err = boxKey(box, o.Box, "offer", rec.header, nil); err != nil {
			return o, err
		}
	}
	inner, err := openOnce(content, rec.header, r.b)
	if err != nil {
		return o, errNotForUs
	}
	r = reader{b: inner}
	o.ID = r.u64()
	o.Body, o.record, o.content = slices.Clone(r.b), slices.Clone(rec.raw), content
	return o, r.err
}

var errNotForUs = errors.New("the record is sealed to another node")

// parseForwarded checks and opens what Forward gave.
func parseForwarded(s *secret, b []byte, now time.Time) (Offer, error) {
	if len(b) < keySize {
		return Offer{}, errShort
	}
	rec, err := check(b[keySize:], kindOffer, s.place("offers"), now)
	if err != nil {
		return Offer{}, err
	}
	return openOffer(s, rec, nil, slices.Clone(b[:keySize]))
}

// answerKey is the key pair that signs answers to an offer: whoever was given the
// offer's content has it. The joiner can so look for an answer in the DHT without
// knowing who will give it, and nobody else can write there.
func answerKey(content []byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(derive(content, nil, "waterfall answer key", ed25519.SeedSize))
}

// shard is the answers topic of a joiner.
func shard(joiner pubKey) string { return fmt.Sprintf("answers/%d", joiner[len(joiner)-1]%shards) }

// sealAnswer makes an answer record, written by the offer's answer key. Its body: the
// acceptor's box (32 B), and sealed to the joiner's box: the acceptor's public key
// (32 B), its signature (64 B), body. The acceptor signs "waterfall answer\x00", the
// envelope's first 46 bytes, the stream, the offer's ID and the body.
func sealAnswer(s *secret, key ed25519.PrivateKey, box *ecdh.PrivateKey, seq uint64, o Offer, body []byte) ([]byte, error) {
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer's body has %d bytes, more than %d", len(body), maxAnswer)
	}
	joiner, ok := keyOf(o.Joiner)
	if !ok || len(o.content) != keySize {
		return nil, errors.New("the offer was not received")
	}
	once := answerKey(o.content)
	pub := publicOf(once)
	h := newHeader(kindAnswer, pub, seq, offerLife)
	k, err := boxKey(box, o.Box, "answer", h, pub[:])
	if err != nil {
		return nil, fmt.Errorf("sealing the answer to the joiner: %w", err)
	}
	from := publicOf(key)
	plain := slices.Concat(from[:], ed25519.Sign(key, answerSigned(h, o.Stream, o.ID, body)), body)
	return h.sign(once, s.place(shard(joiner)), sealOnce(k, h, box.PublicKey().Bytes(), plain)), nil
}

func answerSigned(h header, stream [16]byte, id uint64, body []byte) []byte {
	b := slices.Concat([]byte(answerDomain), h[:], stream[:])
	return append(binary.BigEndian.AppendUint64(b, id), body...)
}

// openAnswer opens a checked answer record to our offer id for stream.
func openAnswer(rec record, box *ecdh.PrivateKey, stream [16]byte, id uint64) (a Answer, err error) {
	r := reader{b: rec.body}
	theirs := r.box()
	if r.err != nil {
		return a, r.err
	}
	k, err := boxKey(box, theirs, "answer", rec.header, rec.writer[:])
	if err != nil {
		return a, err
	}
	plain, err := openOnce(k, rec.header, r.b)
	if err != nil {
		return a, errNotForUs
	}
	r = reader{b: plain}
	from, sig := r.key(), r.take(ed25519.SignatureSize)
	if r.err != nil {
		return a, r.err
	}
	if !ed25519.Verify(from[:], answerSigned(rec.header, stream, id, r.b), sig) {
		return a, errors.New("the answer's inner signature is wrong")
	}
	return Answer{Stream: stream, From: from.ID(), Box: theirs, ID: id, Body: slices.Clone(r.b)}, nil
}
