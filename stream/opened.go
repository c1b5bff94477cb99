package stream

import "sync"

const openedSlots = 256

// opened remembers the newest payloads of a stream, so that many players open each once.
type opened struct {
	mu    sync.Mutex // guards slots, and makes the second player wait for the first
	slots []openedSlot
}

type openedSlot struct {
	s       *Sealer
	wire    *byte // of the packet: it is never changed, so its address is its name
	payload []byte
}

// open returns p's payload, which nobody may change.
func (o *opened) open(s *Sealer, p *Packet) ([]byte, error) {
	if len(p.Wire) == 0 {
		return nil, ErrSeal
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.slots == nil {
		o.slots = make([]openedSlot, openedSlots)
	}
	at := &o.slots[(p.Number+uint64(p.Track)*17)%openedSlots]
	if at.s == s && at.wire == &p.Wire[0] {
		return at.payload, nil
	}
	payload, err := s.Open(make([]byte, 0, len(p.Wire)), p.Wire)
	if err != nil {
		return nil, err
	}
	*at = openedSlot{s, &p.Wire[0], payload}
	return payload, nil
}
