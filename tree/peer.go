package tree

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Times of the protocol. Those that DESIGN section 4 states are marked.
const (
	answerWait   = 1 * time.Second         // for an answer to an offer (DESIGN)
	linkWait     = 4 * time.Second         // for a link after an answer
	shedWait     = 150 * time.Millisecond  // for proof, where only standbys hang on us
	hedgeWait    = 800 * time.Millisecond  // … then one in need asks others, too
	proofWait    = 1500 * time.Millisecond // for proof that a parent is not below us
	flowWait     = 1200 * time.Millisecond // for the first packet after Attach
	badMemory    = 500 * time.Millisecond  // Silent and Starved are repeated more often
	starvedWait  = 1 * time.Second         // a candidate may itself be without media
	provisional  = 4 * time.Second         // a slot is held for a joiner that does not come (DESIGN)
	offerMemory  = 30 * time.Second        // an offer lives on its carriers (DESIGN)
	ackWait      = 1 * time.Second         // for a child's sum to reckon with an offer
	sumGap       = 100 * time.Millisecond  // between sums, so that a crowd does not flood
	sumPeriod    = 2 * time.Second
	headGap      = 200 * time.Millisecond // between heads
	headPeriod   = 2 * time.Second        // (DESIGN)
	headWait     = headPeriod + headPeriod/4
	freshGap     = 200 * time.Millisecond // between requests for a stamp
	repairJitter = 100 * time.Millisecond
	banTime      = 10 * time.Second // a parent that was lost is not taken again
	starveAfter  = 5 * time.Second  // the break above should be mended by then …
	starveAlone  = 2 * time.Second  // … and, by one whose backup has nothing either, is waited for so long
	starveJitter = 2 * time.Second
	quietTime    = 5 * time.Second         // after news of a death nobody moves of its own will, for so long …
	quietJitter  = 2 * time.Second         // … and up to this longer
	ownFaultTime = 8 * time.Second         // after a move; links that it broke have ended by then
	roomWait     = 3 * time.Second         // for room at the root
	crossWait    = 2 * time.Second         // in which an older offer's answer is expected
	leaveWait    = 2500 * time.Millisecond // for children to move; the process has 3 s (INTERFACE)
	backoffMin   = 200 * time.Millisecond
	backoffRace  = 1 * time.Second
	backoffMax   = 5 * time.Second

	giveUp       = 1 * time.Second        // of silence, then the backup is the parent (DESIGN)
	giveUpMin    = 500 * time.Millisecond // after the alarm, for a link that was slow to alarm
	backupWait   = 400 * time.Millisecond // for the backup to deliver before others are asked, at most …
	backupSlack  = 60 * time.Millisecond  // … on top of one and a half round trips
	starveSoon   = 400 * time.Millisecond // then the backup is asked as well (DESIGN) …
	starveSpread = 200 * time.Millisecond // … with jitter
	spareSoon    = 300 * time.Millisecond // before a backup is looked for, with as much jitter
	spareAgain   = 80 * time.Millisecond  // … by one whose parent has changed or whose backup has gone
	spareWait    = 3 * time.Second        // for an answer along the tree
	spareMin     = 500 * time.Millisecond // between attempts that led nowhere
	spareMax     = 20 * time.Second
	drawWait     = 3 * time.Minute        // between draws of another backup, longer when they bring nothing …
	drawMax      = 16 * time.Minute       // … at most
	farTrip      = 250 * time.Millisecond // a backup with a longer round trip is replaced soon …
	farWait      = 10 * time.Second       // … if one is found in this time, half of it more or less
	weighWait    = 3 * time.Second        // for the path and the round trip of a drawn node
	drawGain     = 20 * time.Millisecond  // or an eighth of it: clearly less delay
	relieveWait  = 2 * time.Second        // before one that was taken in is asked to move on
	swapWait     = 500 * time.Millisecond // … and before one whose place a stronger one takes is
	relieveAgain = 3 * time.Second
	riseWait     = 4 * time.Second // between attempts to rise
	riseJitter   = 1 * time.Second
	displaceWait = 4 * time.Second  // between strong ones that a full node takes in
	longer       = 10               // minutes that a node has to be here longer than another to count as stronger
	poorWait     = 30 * time.Second // between moves for a better link
	farTime      = 5 * time.Minute  // a pair that could not be linked is not tried again
	shunTime     = 1 * time.Minute  // a child that did not deliver to others gets no more
	takenInGrace = 5 * time.Second  // for an offer to cross the coming of its joiner
)

// Bounds on what a Peer keeps.
const (
	maxHeld      = 8192 // offers of others that are remembered
	maxHanded    = 8192 // offers handed to one child that its sums do not yet reckon with
	maxWaiting   = 4096 // of those remembered, those that wait for room at the root
	maxLate      = 3    // offers of our own that nobody has answered in time
	maxBans      = 32
	shunFrom     = 2  // complaints about a child
	maxTries     = 4  // entries tried in a round besides the root
	pathContacts = 16 // nearest ancestors whose contacts a path holds, besides those that hear offers
	entryLayer   = 2  // deepest layer of head entries: 1 + 4 + 16 nodes to choose 16 from
	deepHeads    = 5  // one of so many heads takes its entries along below that layer

	standbysPerSlot = 2
	farDraws        = 6 // in vain, for a nearer or higher backup, before they get rare
	standTries      = 4 // children asked to be another's backup
	downEntries     = 8
	riseWeight      = 16
	riseHeads       = 3  // heads in a row that show room nearer to the root
	diedShare       = 12 // one in so many members missing in the next head is a death near the top
)

// Peer is the state machine of one node in one stream's tree. It is not safe
// for concurrent use: its owner is the node's loop.
type Peer struct {
	cfg     Config
	rng     *rand.Rand
	slots   int
	now     time.Time // of the Step that is being done
	out     []Action
	started bool
	born    time.Time // of the first Step
	leaveBy time.Time // not zero: leaving
	left    bool

	// Above (join.go, candidate.go, backup.go, redraw.go, repair.go).
	parent      NodeID        // whom the stream is taken from; empty: nobody
	path        []Hop         // ancestors, root first; kept when the parent is lost
	pathTold    bool          // path came from the parent itself, with contacts
	waitingPath *Path         // from the parent, not applied while a candidate is attached
	lost        bool          // the parent delivers nothing: it is kept only until another does
	starving    bool          // the parent itself gets nothing: the backup is asked as well
	giveUpAt    time.Time     // when lost or starving: from then on the backup may take its place
	moving      bool          // the parent is leaving
	upDelay     time.Duration // of the stream from the root to the parent
	rtt         time.Duration // to the parent; zero: unknown
	switches    int
	settled     bool          // has had a parent that delivered
	starveSoon  time.Duration // starving for so long, the backup is asked
	starveAfter time.Duration // starving for so long, others are
	seek        seek
	backup      *candidate
	spare       spare
	draw        draw
	opens       [riseHeads][]uint32 // free slots by layer, by the last heads
	riseAt      time.Time           // not before
	riseFails   int
	upper       standing  // of the parent, as it says
	displacedAt time.Time // when a strong node was last taken in place of a weak one
	banned      []ban
	unheard     []ban     // whose offers are not heard
	ownFault    time.Time // until then links end because this node was elsewhere
	quietUntil  time.Time // no move of our own will before
	poorAt      time.Time // when a poor link was last acted upon
	lastOffer   OfferID
	outOfReach  time.Time // last time that room was found, but out of reach; zero: not since attached

	// Freshness (fresh.go).
	stamp   uint64 // the root's newest number that has come down the tree; the root's own
	best    label  // best place held since there are children
	askDue  bool   // a child wants a newer stamp
	askedAt time.Time

	speakers []NodeID // the room's others, and ourselves in another's tree (speakers.go)

	// Below (slots.go).
	kids      []*child   // sorted by node
	standbys  []*standby // sorted by node
	relieveAt time.Time  // when one of too many children is asked to move; zero: not too many
	lapsed    time.Time  // when a promise last came to nothing (hog.go)
	held      map[NodeID]*held
	heldOrder []*held // oldest first
	waiting   []*held // for room, oldest first (wait.go)

	// Sums and head (sums.go, head.go).
	dirty    bool // something that sum or head tell has changed
	sumAt    time.Time
	seenNum  uint64 // of the parent's newest HandDown
	head     Head
	toldSeq  uint64 // of the newest head that has come down the tree …
	members  int    // … and the members that it counted
	headAt   time.Time
	headDue  time.Time
	downAt   time.Time
	bare     bool      // head came without entries: these are older
	intoDeep time.Time // when entries were last passed on below their own layer
	downSeq  uint64
	watch    Watch
}

// New checks cfg and returns a Peer that has done nothing yet. The first Step may
// have a nil event: it starts the Peer.
func New(cfg Config) (*Peer, error) {
	if cfg.Self == "" || len(cfg.Self) > maxID {
		return nil, fmt.Errorf("tree: node ID of %d bytes, want 1 to %d", len(cfg.Self), maxID)
	}
	if len(cfg.Contact) > maxContact {
		return nil, fmt.Errorf("tree: contact of %d bytes, want at most %d", len(cfg.Contact), maxContact)
	}
	if cfg.AnswerWait < 0 {
		return nil, errors.New("tree: AnswerWait is negative")
	}
	if cfg.AnswerWait == 0 {
		cfg.AnswerWait = answerWait
	}
	name := fnv.New64a()
	name.Write([]byte(cfg.Self))
	p := &Peer{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, name.Sum64()))}
	p.setSlots(cfg.Slots)
	if !cfg.Root {
		p.seek.active = true
	}
	return p, nil
}

func (p *Peer) setSlots(n int) {
	switch {
	case n == 0:
		p.slots = DefaultSlots
	default:
		p.slots = max(n, 0)
	}
	p.dirty = true
}

// Step takes one event (nil: only time has passed) and returns what to do, in order.
func (p *Peer) Step(now time.Time, ev Event) []Action {
	if p.left {
		return nil
	}
	if now.After(p.now) {
		p.now = now
	}
	if !p.started {
		p.started, p.born = true, p.now
	}
	p.out = nil
	if ev != nil {
		ev.apply(p)
	}
	p.dropLate()
	p.relieve()
	p.runWaiting()
	p.runSeek()
	p.runBackup()
	if !p.leaveBy.IsZero() && (len(p.kids) == 0 || !p.now.Before(p.leaveBy)) {
		p.finishLeaving()
		return p.out
	}
	if p.cfg.Root {
		p.tellHead()
	} else {
		p.tellSum()
	}
	p.askFresh()
	p.tellWatch()
	return p.out
}

// message hands on what a linked node says, if it is one whose word counts.
func (p *Peer) message(from NodeID, m Message) {
	if c := p.kid(from); c != nil {
		p.kidMessage(c, m)
		return
	}
	if s := p.standby(from); s != nil {
		p.standbyMessage(s, m)
		return
	}
	cand := p.seek.cand
	switch {
	case cand != nil && cand.node == from:
		p.candidateMessage(cand, m)
	case p.isBackup(from):
		p.candidateMessage(p.backup, m)
	case p.isDrawn(from):
		p.drawnMessage(p.draw.cand, m)
	case from == p.parent && from != "":
		p.parentMessage(m)
	}
}

func (p *Peer) linkUp(node NodeID) {
	if c := p.kid(node); c != nil {
		p.kidUp(c)
	} else if s := p.standby(node); s != nil {
		p.standbyUp(s)
	} else if c := p.seek.cand; c != nil && c.node == node {
		p.candidateUp(c)
	} else if p.isBackup(node) {
		p.candidateUp(p.backup)
	} else if p.isDrawn(node) {
		p.drawnUp(p.draw.cand)
	}
}

func (p *Peer) linkDown(node NodeID) {
	if c := p.kid(node); c != nil {
		p.dropKid(c, false, false)
		return
	}
	if s := p.standby(node); s != nil {
		s.up = false
		p.dropStandby(s, false)
		return
	}
	if c := p.seek.cand; c != nil && c.node == node {
		p.dropCandidate(true)
		return
	}
	if p.isBackup(node) {
		p.dropBackup(true)
		return
	}
	if p.isDrawn(node) {
		p.draw.cand.up = false
		p.endDraw(false)
		return
	}
	if node == p.parent && node != "" {
		p.unrest()
		p.cutParent(false, false)
		p.orphaned(true)
	}
}

// Deadline is when Step wants to be called with a nil event; zero: not before an event.
func (p *Peer) Deadline() time.Time {
	var d time.Time
	if !p.started || p.left {
		return d
	}
	earlier := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	for _, c := range p.kids {
		earlier(c.until)
	}
	for _, s := range p.standbys {
		earlier(s.until)
	}
	earlier(p.leaveBy)
	earlier(p.relieveAt)
	earlier(p.waitingUntil())
	earlier(p.seekDeadline())
	p.backupDeadline(earlier)
	if p.askDue && p.attached() {
		earlier(p.askedAt.Add(freshGap))
	}
	if p.cfg.Root {
		earlier(p.headDue)
		if p.downSeq != p.head.Seq && len(p.kids) > 0 {
			earlier(p.downAt.Add(headPeriod))
		}
	} else if p.attached() {
		if p.dirty {
			earlier(p.sumAt.Add(sumGap))
		}
		earlier(p.sumAt.Add(sumPeriod))
	}
	return d
}

func (p *Peer) do(a Action)               { p.out = append(p.out, a) }
func (p *Peer) send(to NodeID, m Message) { p.do(Send{To: to, Message: m}) }

// attached says that this node stands in the tree, as far as it knows.
func (p *Peer) attached() bool { return p.cfg.Root || p.parent != "" && !p.lost }

// uptime is what others are told of how long we have been here: whole minutes.
func (p *Peer) uptime() int { return int(min(p.now.Sub(p.born)/time.Minute, maxUp)) }

// layer counts from the root; meaningful while attached.
func (p *Peer) layer() int { return len(p.path) }

// jitter is a random time below max.
func (p *Peer) jitter(max time.Duration) time.Duration {
	return time.Duration(p.rng.Int64N(int64(max)))
}

// leave begins to go: those around us move while they are still served.
func (p *Peer) leave() {
	if !p.leaveBy.IsZero() {
		return
	}
	p.leaveBy = p.now.Add(leaveWait)
	p.stopSeek()
	p.standDown()
	if p.spare.offer != 0 {
		p.dropSpare()
	}
	p.endDraw(p.draw.cand != nil && p.draw.cand.up)
	if p.backup != nil {
		p.dropBackup(false)
	}
	for i := len(p.kids) - 1; i >= 0; i-- {
		if c := p.kids[i]; !c.up {
			p.dropKid(c, true, true)
		}
	}
	if p.cfg.Root { // nobody to move to: the stream ends with us
		p.leaveBy = p.now
		return
	}
	for _, c := range p.kids {
		p.send(c.node, Leaving{})
	}
	for i := len(p.standbys) - 1; i >= 0; i-- {
		if s := p.standbys[i]; s.up {
			p.send(s.node, Leaving{})
		} else {
			p.dropStandby(s, true)
		}
	}
	if p.parent != "" {
		p.send(p.parent, Leaving{})
	}
}

func (p *Peer) finishLeaving() {
	for len(p.standbys) > 0 {
		p.dropStandby(p.standbys[0], true)
	}
	for len(p.kids) > 0 {
		p.dropKid(p.kids[len(p.kids)-1], true, true)
	}
	p.cutParent(true, true)
	p.left = true
	p.do(Left{})
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
