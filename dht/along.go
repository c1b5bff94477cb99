package dht

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// await remembers an offer of ours, so that its answer is known when it comes.
func (p *Presence) await(content []byte, stream [16]byte, id uint64) (pubKey, *pending, error) {
	now := time.Now()
	key := publicOf(answerKey(content))
	pd := &pending{stream: stream, id: id, until: now.Add(offerLife), answered: make(chan struct{}), from: map[peer.ID]bool{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, o := range p.pending {
		if now.After(o.until) {
			delete(p.pending, k)
		}
	}
	if len(p.pending) >= maxPending {
		return key, nil, fmt.Errorf("%d offers are waiting for answers", maxPending)
	}
	p.pending[key] = pd
	return key, pd, nil
}

// DropOffer gives an offer of ours up: its answer is not looked for any longer.
func (p *Presence) DropOffer(stream [16]byte, id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, o := range p.pending {
		if o.stream == stream && o.id == id {
			if len(o.from) == 0 {
				close(o.answered)
			}
			delete(p.pending, k)
		}
	}
}

// MakeOffer makes an offer that travels by the caller's own means, in the form of
// Offer.Forward: whoever gets it can check who wrote it, read and answer it. Answers
// are to be given to TakeAnswer.
func (p *Presence) MakeOffer(stream [16]byte, id uint64, body []byte) ([]byte, error) {
	rec, content, err := sealOffer(&p.room().secret, p.h.key, p.box, p.h.clock.next(), stream, p.Box(), id, body)
	if err != nil {
		return nil, err
	}
	if _, _, err := p.await(content, stream, id); err != nil {
		return nil, err
	}
	return slices.Concat(content, rec), nil
}

// MakeAnswer makes an answer that travels by the caller's own means; only the offer's
// joiner can read it.
func (p *Presence) MakeAnswer(o Offer, body []byte) ([]byte, error) {
	return sealAnswer(&p.room().secret, p.h.key, p.box, p.h.clock.next(), o, body)
}

// TakeAnswer takes what MakeAnswer gave another node. It comes out of Answers, if it
// answers an offer of ours.
func (p *Presence) TakeAnswer(b []byte) error {
	self, ok := keyOf(p.h.host.ID())
	if !ok {
		return errors.New("this node's ID has no key in it")
	}
	r, err := check(b, kindAnswer, p.room().secret.place(shard(self)), p.h.clock.now())
	if err != nil {
		return fmt.Errorf("an answer: %w", err)
	}
	p.takeAnswer(r, "")
	return nil
}
