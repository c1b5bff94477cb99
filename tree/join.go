package tree

import (
	"slices"
	"time"
)

// seek is the search for a parent: of a newcomer, an orphan, or one whose parent leaves.
type seek struct {
	active  bool
	along   bool      // first ask along the tree: the parent still delivers
	once    bool      // and nobody else
	deepest int       // the place that is looked for along the tree
	queue   []Entry   // still to be tried in this round
	spent   bool      // a round was begun: when its queue is empty, wait
	rounds  int       // that led nowhere
	headSeq uint64    // of the head that the last round tried
	at      time.Time // not before
	stale   time.Time // from then on a head that was tried already will do
	avoid   NodeID    // the parent that was lost
	via     NodeID    // whom a move begins with, if it is the backup still
	near    NodeID    // ancestor that was asked before the first round

	offer    OfferID   // zero: none out
	up       bool      // it went up the tree
	late     []OfferID // not answered in time; may be yet
	answerBy time.Time
	cand     *candidate
}

// headSeen takes a head from signalling.
func (p *Peer) headSeen(h Head) {
	if p.cfg.Root || h.Stream != p.cfg.Stream || h.Seq <= p.head.Seq || !headFits(h) {
		return
	}
	if p.bare = len(h.Entries) == 0; p.bare {
		h.Entries = p.head.Entries
	}
	p.head = h
}

func headFits(h Head) bool {
	if len(h.Entries) > maxEntries || len(h.Layers) > maxPath || len(h.Open) > maxPath {
		return false
	}
	for _, e := range h.Entries {
		if e.Node == "" || len(e.Node) > maxID || len(e.Contact) > maxContact ||
			e.Layer < 0 || e.Layer > maxPath || e.Opening < 0 || e.Opening > maxPath ||
			e.Free < 0 || e.Free >= maxCount {
			return false
		}
	}
	return true
}

// runSeek goes on with the search as far as it can at this moment.
func (p *Peer) runSeek() {
	s := &p.seek
	if !s.active {
		return
	}
	if s.cand != nil {
		p.judgeCandidate()
	}
	if s.cand != nil && !p.hedging() || !s.active {
		return
	}
	if s.offer != 0 {
		if p.now.Before(s.answerBy) {
			return
		}
		p.offerLate()
	}
	for !p.now.Before(s.at) {
		if via := p.moveVia(); s.along && via != "" {
			s.along, s.spent = false, s.once
			s.offer = p.newOffer()
			s.up, s.answerBy = via == p.parent, p.now.Add(spareWait)
			if p.moving { // the parent will not be there for so long
				s.answerBy = p.now.Add(p.cfg.AnswerWait)
			}
			p.do(SendOffer{Offer: s.offer, Via: via, Purpose: ToMove, Deepest: s.deepest, Below: p.subtree(), Slots: p.strength(), Avoid: s.avoid, Reach: p.cfg.Reach, Up: p.uptime()})
			return
		}
		if s.once {
			*s = seek{}
			p.riseFails++
			p.riseAt = p.now.Add(riseWait << min(p.riseFails, 3))
			return
		}
		if len(s.queue) == 0 {
			if s.spent {
				p.backOff()
				return
			}
			if !p.newRound() {
				return
			}
			continue
		}
		e := s.queue[0]
		s.queue = s.queue[1:]
		if p.mayAsk(e.Node) {
			s.offer, s.up = p.newOffer(), false
			s.answerBy = p.now.Add(p.cfg.AnswerWait)
			if p.settled { // whoever is in need asks the next sooner; a late answer counts, too
				s.answerBy = p.now.Add(p.cfg.AnswerWait * 4 / 10)
			}
			p.do(SendOffer{Offer: s.offer, To: e, Below: p.subtree(), Slots: p.strength(), Avoid: s.avoid, Reach: p.cfg.Reach, Up: p.uptime()})
			return
		}
	}
}

// newOffer numbers an offer: newer than all before, also after a restart.
func (p *Peer) newOffer() OfferID {
	p.lastOffer = max(p.lastOffer+1, OfferID(p.now.UnixMicro()))
	return p.lastOffer
}

// newRound fills the queue from the head, if there is one that was not tried in vain.
func (p *Peer) newRound() bool {
	s := &p.seek
	if p.head.Seq == 0 || p.head.Seq <= s.headSeq && p.now.Before(s.stale) {
		return false
	}
	s.headSeq, s.spent = p.head.Seq, true
	list := slices.Clone(p.head.Entries)
	list = slices.DeleteFunc(list, func(e Entry) bool { return e.Node == s.near })
	s.near = ""
	p.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b Entry) int {
		if d := rankOpening(a.Opening) - rankOpening(b.Opening); d != 0 {
			return d
		}
		return min(b.Layer, 1) - min(a.Layer, 1) // spare the root
	})
	if p.risesToRoot() {
		slices.SortStableFunc(list, func(a, b Entry) int { return min(a.Layer, 1) - min(b.Layer, 1) })
	}
	for _, e := range list {
		if len(s.queue) < maxTries || e.Layer == 0 { // the root is the last resort
			s.queue = append(s.queue, e)
		}
	}
	return true
}

// rankOpening puts "none" (0) behind every layer.
func rankOpening(layer int) int {
	if layer == 0 {
		return maxPath + 1
	}
	return layer
}

// backOff waits before the next round, which wants a newer head: less long when there
// was room and others were faster.
func (p *Peer) backOff() {
	s := &p.seek
	most := backoffMax
	if p.head.Free > 0 {
		most = backoffRace
	}
	d := min(backoffMin<<min(s.rounds, 8), most)
	s.rounds++
	s.spent = false
	s.at = p.now.Add(d/2 + p.jitter(d))
	s.stale = s.at.Add(headWait)
}

// failed goes on to the next entry. Orphans take their time: their siblings are on
// the same way.
func (p *Peer) failed() {
	if p.settled {
		p.seek.at = p.now.Add(p.jitter(repairJitter))
	}
}

func (p *Peer) dropOffer() {
	p.do(DropOffer{Offer: p.seek.offer})
	p.seek.offer = 0
	p.failed()
}

// answered takes the answer to our offer.
func (p *Peer) answered(a AnswerReceived) {
	s := &p.seek
	if a.Offer == p.spare.offer && a.Offer != 0 {
		p.spareAnswered(a)
		return
	}
	p.takeLate(a)
	if s.offer == 0 || a.Offer != s.offer {
		return
	}
	if a.Verdict == OutOfReach {
		p.outOfReach = p.now
	}
	if a.Verdict != Accepted || !p.mayAsk(a.From) || s.cand != nil && (s.cand.up || s.cand.node == a.From) || !p.pathFits(a.From, a.Path) ||
		p.isBackup(a.From) && p.backup.attached {
		p.dropOffer()
		if a.Verdict == Accepted {
			p.release(a.From)
		}
		return
	}
	if c := p.draw.cand; c != nil && c.node == a.From {
		p.draw.cand = nil
	}
	next := &candidate{node: a.From, offer: s.offer, path: nodesToHops(a.Path), until: p.now.Add(linkWait), hedgeAt: p.now.Add(hedgeWait)}
	if b := p.backup; p.isBackup(a.From) { // it has just found us a place as its child; it may not say again where it stands
		next.path, next.told, next.stamp, next.delay, next.standing, next.rtt = b.path, b.told, b.stamp, b.delay, b.standing, b.rtt
		p.backup = nil
		p.spareSoon()
	}
	if s.offer = 0; s.cand != nil {
		p.dropCandidate(false)
	}
	s.cand = next
	p.dropLateOffers()
}

// stopSeek gives up the search.
func (p *Peer) stopSeek() {
	if p.seek.offer != 0 {
		p.dropOffer()
	}
	p.dropLateOffers()
	if c := p.seek.cand; c != nil {
		p.dropCandidate(false)
		p.unban(c.node)
	}
	p.seek = seek{}
}

// seekDeadline is when runSeek has something to do if nothing happens.
func (p *Peer) seekDeadline() time.Time {
	c := p.seek.cand
	switch {
	case !p.seek.active:
		return time.Time{}
	case c == nil:
		return p.askDeadline()
	case !p.mayHedge(c):
		return c.until
	case p.now.Before(c.hedgeAt):
		return c.hedgeAt
	}
	if d := p.askDeadline(); !d.IsZero() && d.Before(c.until) {
		return d
	}
	return c.until
}

// askDeadline is when the next entry may have to be asked.
func (p *Peer) askDeadline() time.Time {
	s := &p.seek
	switch {
	case s.offer != 0:
		return s.answerBy
	case s.once || s.along && p.parent != "":
		return s.at
	case len(s.queue) > 0 || s.spent:
		return s.at
	case p.head.Seq == 0:
		return time.Time{} // only a head helps
	case p.head.Seq > s.headSeq:
		return s.at
	default:
		return later(s.stale, s.at)
	}
}
