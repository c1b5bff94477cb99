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
	near    NodeID    // ancestor that was asked before the first round

	offer    OfferID // zero: none out
	answerBy time.Time
	cand     *candidate
}

// candidate is a node that is willing to be the parent, now or, as a backup, later.
type candidate struct {
	node     NodeID
	offer    OfferID
	stands   bool          // a backup
	flows    bool          // a backup that was asked to deliver does
	delay    time.Duration // of the stream from the root to it
	slots    int           // as it says
	rtt      time.Duration // zero: unknown
	path     []Hop         // the candidate last
	told     bool          // path came from the candidate itself, with stamp and contacts
	stamp    uint64
	up       bool      // linked
	asked    bool      // for a newer stamp
	attached bool      // asked to deliver
	badAt    time.Time // last heard to be silent or starved
	until    time.Time
	seenNum  uint64 // as in Peer
}

type ban struct {
	node  NodeID
	until time.Time
}

// headSeen takes a head from signalling.
func (p *Peer) headSeen(h Head) {
	if p.cfg.Root || h.Stream != p.cfg.Stream || h.Seq <= p.head.Seq || !headFits(h) {
		return
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
	if s.cand != nil || !s.active {
		return
	}
	if s.offer != 0 {
		if p.now.Before(s.answerBy) {
			return
		}
		p.dropOffer()
	}
	for !p.now.Before(s.at) {
		if s.along && p.parent != "" {
			s.along, s.spent = false, s.once
			s.offer = p.newOffer()
			s.answerBy = p.now.Add(spareWait)
			p.do(SendOffer{Offer: s.offer, Via: p.parent, Purpose: ToMove, Deepest: s.deepest, Below: p.subtree(), Slots: p.strength(), Avoid: s.avoid})
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
			s.offer = p.newOffer()
			s.answerBy = p.now.Add(p.cfg.AnswerWait)
			p.do(SendOffer{Offer: s.offer, To: e, Below: p.subtree(), Slots: p.strength(), Avoid: s.avoid})
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
	if s.offer == 0 || a.Offer != s.offer {
		return
	}
	if a.Verdict != Accepted || !p.mayAsk(a.From) || !p.pathFits(a.From, a.Path) ||
		p.isBackup(a.From) && p.backup.attached {
		p.dropOffer()
		if a.Verdict == Accepted {
			p.release(a.From)
		}
		return
	}
	if p.isBackup(a.From) { // it has just found us a place as its child
		p.backup = nil
		p.spareSoon()
	}
	s.cand = &candidate{node: a.From, offer: s.offer, path: nodesToHops(a.Path), until: p.now.Add(linkWait)}
	s.offer = 0
}

// mayAsk says whether node may be taken as a parent, as far as its name tells.
func (p *Peer) mayAsk(node NodeID) bool {
	return node != "" && node != p.cfg.Self && node != p.parent && p.kid(node) == nil && p.standby(node) == nil &&
		!p.isBanned(node)
}

func (p *Peer) isBanned(node NodeID) bool {
	return slices.ContainsFunc(p.banned, func(b ban) bool { return b.node == node && p.now.Before(b.until) })
}

func (p *Peer) ban(node NodeID) { p.banFor(node, banTime) }

func (p *Peer) banFor(node NodeID, d time.Duration) {
	p.banned = slices.DeleteFunc(p.banned, func(b ban) bool {
		return b.node == node || !p.now.Before(b.until)
	})
	if len(p.banned) == maxBans {
		p.banned = slices.Delete(p.banned, 0, 1)
	}
	p.banned = append(p.banned, ban{node, p.now.Add(d)})
}

func (p *Peer) unban(node NodeID) {
	p.banned = slices.DeleteFunc(p.banned, func(b ban) bool { return b.node == node })
}

// pathFits checks the path that node gave as its own: ours would be one longer.
func (p *Peer) pathFits(node NodeID, path []NodeID) bool {
	n := len(path)
	return n > 0 && n < maxPath && path[n-1] == node && !slices.Contains(path, p.cfg.Self)
}

func hopsToNodes(hops []Hop) []NodeID {
	out := make([]NodeID, len(hops))
	for i, h := range hops {
		out[i] = h.Node
	}
	return out
}

func nodesToHops(path []NodeID) []Hop {
	out := make([]Hop, len(path))
	for i, n := range path {
		out[i].Node = n
	}
	return out
}

// release lets the link with node go unless it has another use.
func (p *Peer) release(node NodeID) {
	c := p.seek.cand
	if node == p.parent || p.kid(node) != nil || p.standby(node) != nil || p.isBackup(node) || c != nil && c.node == node {
		return
	}
	p.do(Release{Peer: node})
}

// candidateUp says hello, which makes the slot ours; a backup is told that it is one.
func (p *Peer) candidateUp(c *candidate) {
	if c.up {
		return
	}
	c.up = true
	c.until = p.now.Add(proofWait)
	if c.stands {
		p.tellBackup()
		if p.needy() {
			p.fallBack()
		}
		return
	}
	p.send(c.node, p.sum(true))
	p.tryAttach(c)
}

// tryAttach takes the stream from the candidate once it is certain that it is not
// below us: at once when nobody is.
func (p *Peer) tryAttach(c *candidate) {
	if c.attached || !c.up {
		return
	}
	if !p.bound() {
		p.best = label{}
	} else if !c.told {
		return
	} else if !labelOf(c.stamp, len(c.path)-1).better(p.best) {
		if !c.asked {
			c.asked = true
			p.send(c.node, Fresh{})
		}
		return
	}
	c.attached = true
	c.until = p.now.Add(flowWait)
	if c.stands {
		p.send(c.node, p.sum(true))
	}
	p.do(Attach{Parent: c.node})
}

func (p *Peer) candidateMessage(c *candidate, m Message) {
	if !c.up { // its link is up before ours knows
		p.candidateUp(c)
	}
	switch m := m.(type) {
	case Path:
		if !p.pathFits(c.node, hopsToNodes(m.Hops)) || c.stands && !p.apart(m.Hops) {
			p.refuseCandidate(c)
			return
		}
		c.path, c.told = m.Hops, true
		c.stamp, c.delay, c.slots = max(c.stamp, m.Stamp), m.Delay, m.Slots
		if c.stands && !c.attached {
			c.until = time.Time{}
		}
	case Beat:
		c.stamp, c.delay = max(c.stamp, m.Stamp), m.Delay
	case HeadDown:
		c.stamp, c.delay = max(c.stamp, m.Stamp), m.Delay
		p.headSeen(m.Head)
	case HandDown: // though we have told it that we have no room yet
		c.seenNum = max(c.seenNum, m.Num)
		p.send(c.node, NoRoom{Joiner: m.Offer.Joiner, Offer: m.Offer.ID})
	case Leaving:
		p.refuseCandidate(c)
		return
	case Gone:
		if c.stands {
			p.ban(c.node)
			p.dropBackup(true)
			p.release(c.node)
			return
		}
		c.up = false // nothing to say goodbye to
		p.dropCandidate(false)
		return
	}
	if !c.stands || p.needy() || p.moving {
		p.tryAttach(c)
	}
}

// refuseCandidate gives a candidate or backup up.
func (p *Peer) refuseCandidate(c *candidate) {
	if c.stands {
		p.dropBackup(false)
	} else {
		p.dropCandidate(false)
	}
}

// judgeCandidate ends the wait for a candidate when its time is up.
func (p *Peer) judgeCandidate() {
	c := p.seek.cand
	if p.now.Before(c.until) {
		return
	}
	if c.attached && c.told && p.now.Sub(c.badAt) > badMemory {
		p.settle(c) // the hop lives; the speaker has nothing to say
		return
	}
	p.dropCandidate(false)
}

// dropCandidate turns to the next entry; down says that the link is closed already.
func (p *Peer) dropCandidate(down bool) {
	c := p.seek.cand
	p.seek.cand = nil
	if c.up {
		p.ban(c.node)
	} else { // two strict NATs or a firewall between us, mostly
		p.banFor(c.node, farTime)
	}
	if !c.up || c.attached && !p.needy() || c.attached && p.parent == "" {
		p.seek.avoid = c.node // it is named, so that its parent hears of it
	}
	p.failed()
	if c.attached {
		p.do(Detach{Parent: c.node})
	}
	if !c.up {
		p.do(DropOffer{Offer: c.offer})
		if !down {
			p.release(c.node)
		}
	} else if !down {
		p.send(c.node, Gone{})
		p.release(c.node)
	}
	p.thaw()
}

// settle makes the candidate the parent: it delivers.
func (p *Peer) settle(c *candidate) {
	p.waitingPath = nil
	if c == p.backup {
		p.stopSeek()
		p.backup = nil
	}
	p.seek = seek{}
	well := !p.needy()
	old := p.parent
	p.cutParent(true, true)
	if well {
		p.unban(old) // it has done nothing wrong
	}
	if p.settled {
		p.switches++
	}
	p.settled = true
	p.parent = c.node
	p.starveSoon = starveSoon + p.jitter(starveSpread)
	p.starveAfter = starveAfter + p.jitter(starveJitter)
	p.path, p.pathTold, p.stamp, p.seenNum = c.path, c.told, c.stamp, c.seenNum
	p.upDelay, p.rtt = c.delay, c.rtt
	p.riseAt, p.riseFails, p.roomSeen = p.now.Add(riseWait), 0, 0
	p.upSlots = c.slots
	p.hold()
	p.tellPath()
	p.dirty = true
	p.sumAt = time.Time{}
	if b := p.backup; b != nil {
		if p.apart(b.path) {
			p.standDown()
			p.tellBackup()
		} else {
			p.dropBackup(false)
		}
	}
	p.spareSoon()
}

// stopSeek gives up the search.
func (p *Peer) stopSeek() {
	if p.seek.offer != 0 {
		p.dropOffer()
	}
	if c := p.seek.cand; c != nil {
		p.dropCandidate(false)
		p.unban(c.node)
	}
	p.seek = seek{}
}

// seekDeadline is when runSeek has something to do if nothing happens.
func (p *Peer) seekDeadline() time.Time {
	s := &p.seek
	switch {
	case !s.active:
		return time.Time{}
	case s.cand != nil:
		return s.cand.until
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
		return s.stale
	}
}
