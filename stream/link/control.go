package link

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	maxControl   = 64 << 10
	controlQueue = 256
	controlAhead = 1 << 20 // bytes of control messages that SCTP holds at most
	controlRoom  = 2 << 10 // what most control messages fit into
)

// Send queues a control message (≤ 64 KiB) on the data channel; an error means that
// the link is closed or its queue (256 messages) is full.
func (l *Link) Send(b []byte) error {
	if len(b) > maxControl {
		return errTooLarge
	}
	select {
	case <-l.dying:
		return ErrClosed
	default:
	}
	select {
	case l.out <- b:
		return nil
	default:
		return ErrFull
	}
}

// writeControl sends the queued control messages.
func (l *Link) writeControl() {
	for {
		select {
		case <-l.dying:
			return
		case b := <-l.out:
			for l.dc.BufferedAmount() > controlAhead {
				select {
				case <-l.dying:
					return
				case <-l.drain:
				}
			}
			if err := l.dc.Send(b); err != nil {
				l.fail(fmt.Errorf("send control message: %w", err))
				return
			}
			l.count.controlOut.Add(uint64(len(b)))
		}
	}
}

// readControl takes over the data channel, which is open now, and reads it: pion's own
// reader holds 64 KiB for each link. It runs while the link does, which pion's locks rely
// on (pionsTurn).
func (l *Link) readControl() {
	ch, err := l.dc.Detach()
	if err != nil {
		l.fail(fmt.Errorf("take over the data channel: %w", err))
		return
	}
	l.mu.Lock()
	l.open = true
	l.mu.Unlock()
	l.wake()
	room := make([]byte, controlRoom)
	for {
		n, err := ch.Read(room)
		switch {
		case errors.Is(err, io.ErrShortBuffer) && len(room) < maxControl:
			room = make([]byte, maxControl) // the message is still there
		case err != nil:
			l.fail(errHungUp)
			return
		case len(room) > controlRoom: // rare: it need not be copied
			l.control(room[:n:n])
			room = make([]byte, controlRoom)
		default:
			l.control(slices.Clone(room[:n]))
		}
	}
}

// control takes a message from the data channel. It waits while the events' reader is
// controlQueue messages behind; SCTP then makes the other side wait.
func (l *Link) control(b []byte) {
	select {
	case <-l.dying:
		return
	case l.inbox <- struct{}{}:
	}
	l.count.controlIn.Add(uint64(len(b)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.post(Event{Kind: Control, Link: l, Data: b})
}
