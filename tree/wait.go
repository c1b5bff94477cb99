package tree

import (
	"cmp"
	"slices"
	"time"
)

// A crowd comes faster than links are made: while the last layer is still being linked there
// is no room, a moment later there is room for four times as many. So the root, which
// learns of all new room, keeps newcomers' offers for a while instead of sending them away:
// those with the most slots are placed first, else nodes that carry nothing could take all
// the room there is, then the oldest. And a joiner that asks another entry because no answer has
// come does not give up the offer that is on its way: the answer may come yet.

// waitFor keeps an offer that found no place, and says whether it does.
func (p *Peer) waitFor(h *held) bool {
	if !p.cfg.Root || p.slots+len(p.kids) == 0 || !h.offer.newcomer() || len(p.waiting) >= maxWaiting || !p.leaveBy.IsZero() ||
		!p.now.Before(h.since.Add(roomWait)) {
		return false
	}
	if open := p.openings(); open.shut(needOf(h.offer.Reach)) {
		return false
	}
	at, _ := slices.BinarySearchFunc(p.waiting, h, func(w, h *held) int {
		return cmp.Or(h.offer.Slots-w.offer.Slots, w.since.Compare(h.since), -1)
	})
	p.waiting = slices.Insert(p.waiting, at, h)
	return true
}

// runWaiting places those that wait, and sends away those that have waited long enough.
func (p *Peer) runWaiting() {
	if len(p.waiting) == 0 || !p.dirty && p.now.Before(p.waitingUntil()) {
		return
	}
	list := p.waiting
	p.waiting = nil
	room := p.hasRoom()
	for _, h := range list {
		switch {
		case p.held[h.offer.Joiner] != h: // it has asked again
		case room || !p.now.Before(h.since.Add(roomWait)):
			h.tried = h.tried[:0]
			p.place(h)
			room = room && p.hasRoom()
		default:
			p.waiting = append(p.waiting, h)
		}
	}
}

func (p *Peer) hasRoom() bool {
	return p.free() > 0 || slices.ContainsFunc(p.kids, func(c *child) bool { return p.opening(c, anyNode) >= 0 })
}

// waitingUntil is when the first of those that wait has waited long enough.
func (p *Peer) waitingUntil() (t time.Time) {
	for _, h := range p.waiting {
		if u := h.since.Add(roomWait); t.IsZero() || u.Before(t) {
			t = u
		}
	}
	return t
}

// newcomer says that an offer's joiner has nobody below it and has lost nobody: it can
// wait a moment for a good place.
func (o *Offer) newcomer() bool { return o.Purpose == ToJoin && o.Below <= 1 && o.Avoid == "" }

// underWay says that an older offer of a joiner has been given a place here, or to
// a child, so that its answer should be with the joiner before this one's.
func (p *Peer) underWay(old *held, o Offer) bool {
	return old != nil && old.placed && old.offer.newcomer() && o.newcomer() && p.now.Before(old.at.Add(crossWait))
}

// offerLate asks another entry though the answer to the last offer may still come.
func (p *Peer) offerLate() {
	s := &p.seek
	if s.once || len(s.late) == maxLate {
		p.do(DropOffer{Offer: s.offer})
	} else {
		s.late = append(s.late, s.offer)
	}
	s.offer = 0
	p.failed()
}

// takeLate makes a late offer that has been answered the present one again.
func (p *Peer) takeLate(a AnswerReceived) {
	s := &p.seek
	i := slices.Index(s.late, a.Offer)
	if i < 0 || s.cand != nil {
		return
	}
	s.late = slices.Delete(s.late, i, i+1)
	if a.Verdict != Accepted {
		p.do(DropOffer{Offer: a.Offer})
		return
	}
	if s.offer != 0 {
		s.late = append(s.late, s.offer)
	}
	s.offer = a.Offer
}

// dropLateOffers gives them up.
func (p *Peer) dropLateOffers() {
	for _, id := range p.seek.late {
		p.do(DropOffer{Offer: id})
	}
	p.seek.late = nil
}
