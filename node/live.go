package node

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/tree"
)

// silentForGood is how long after a speaker fell silent its stream is over (DESIGN 7:
// a stream ends when its speaker says so, or after a stated time).
const silentForGood = 30 * time.Second

// live is one stream of a room at this node: the tree that decides, the history that
// carries. Owned by the loop.
type live struct {
	room    *room
	id      stream.ID
	speaker peer.ID
	tree    *tree.Peer
	hist    *stream.History
	sealer  *stream.Sealer
	pub     *stream.Publisher // at the speaker

	pending     map[tree.OfferID]*pendingOffer // our own offers that are out
	queue       []tree.Event                   // events that came up while actions were carried out
	stepping    bool
	watchHeads  bool
	watchOffers bool
	passed      uint64    // number of the head that the presence was last told of
	slots       int       // last given by the budget; 0: as configured
	needUntil   time.Time // the tree has had no room, see budget
	onLeft      func()    // once, when the tree has let go of this node
	recording   *recording

	catalog     stream.Catalog
	catalogNext uint64 // number after the one that catalog came in
	haveTracks  bool
	told        string // the last verdict
	ended       bool
	endedAt     time.Time
	headAt      time.Time // of the newest sign of life from the speaker
	said        uint64    // when the newest head was said, by the speaker's clock
	stop        []context.CancelFunc
	join        joinTimes
	gap         gapWatch
	uplink      uplink
	media       mediaWatch
	rate        rateWatch
	silent      bool                // nothing has come for a while
	past        linkTotals          // of links that are gone
	idle        map[tree.NodeID]int // looks in a row at which a child took nothing
	chart       chart
}

func (s *live) root() bool   { return s.speaker == s.room.n.ID() }
func (s *live) name() string { return hex.EncodeToString(s.id[:]) }

func (s *live) logger() *slog.Logger { return s.room.log.With("stream", s.name()[:8]) }

// step feeds the tree one event and carries out what it decides; events that arise
// while doing so follow in order.
func (s *live) step(ev tree.Event) {
	s.queue = append(s.queue, ev)
	if s.stepping {
		return
	}
	s.stepping = true
	for len(s.queue) > 0 {
		ev := s.queue[0]
		s.queue = s.queue[1:]
		for _, a := range s.tree.Step(time.Now(), ev) {
			s.act(a)
		}
	}
	s.stepping = false
}

// act carries out one decision of the tree.
func (s *live) act(a tree.Action) {
	n := s.room.n
	switch a := a.(type) {
	case tree.SendOffer:
		s.sendOffer(a)
	case tree.DropOffer:
		s.room.presence.DropOffer(s.id, uint64(a.Offer))
		if p := s.pending[a.Offer]; p != nil {
			delete(s.pending, a.Offer)
			p.close(n)
		}
	case tree.Answer:
		s.answer(a)
	case tree.OpenAnswer:
		if err := s.room.presence.TakeAnswer(a.Raw); err != nil {
			s.logger().Debug("bad answer along the tree", "err", err)
		}
	case tree.Send:
		if p := n.peers[a.To]; p != nil && handsOn(a.Message) && !p.control.give() {
			break // another entry is asked when no answer comes
		}
		n.send(a.To, tree.Marshal(tree.StreamID(s.id), a.Message))
		if _, ok := a.Message.(tree.Stand); ok {
			if l := n.linkTo(a.To); l != nil {
				l.Lean(s.hist)
			}
		}
	case tree.Attach:
		if n.distrusted(a.Parent) {
			s.step(tree.LinkDown{Peer: a.Parent})
		} else if l := n.linkTo(a.Parent); l != nil {
			l.Take(s.hist)
		}
	case tree.Detach:
		if l := n.linkTo(a.Parent); l != nil {
			l.Drop(s.id)
		}
		s.gap.stops(a.Parent, 0)
	case tree.Serve:
		if l := n.linkTo(a.Child); l != nil {
			l.Serve(s.hist)
		}
	case tree.Unserve:
		if l := n.linkTo(a.Child); l != nil {
			l.Unserve(s.id)
		}
	case tree.Release:
		n.release(a.Peer, s)
	case tree.PublishHead:
		s.room.presence.PublishHead(dhtHead(a.Head, s.speaker, s.ended))
	case tree.Watch:
		s.watchHeads, s.watchOffers = a.Heads, a.Offers
		s.room.watch()
	case tree.Left:
		if left := s.onLeft; left != nil {
			s.onLeft = nil
			left()
		}
	}
}

// readCatalog takes note of the newest list of tracks, and of the stream's end.
func (s *live) readCatalog() {
	p, ok := s.hist.Catalog()
	if !ok || s.haveTracks && p.Number+1 == s.catalogNext {
		return
	}
	c, err := s.openCatalog(p)
	if errors.Is(err, stream.ErrSeal) {
		return // of an epoch before we came, or after we were removed
	}
	if err != nil {
		s.logger().Warn("unreadable list of tracks", "err", err)
		return
	}
	s.catalog, s.catalogNext, s.haveTracks = c, p.Number+1, true
	if c.Ended {
		s.end("the speaker has ended the stream")
	}
}

func (s *live) openCatalog(p stream.Packet) (stream.Catalog, error) {
	b, err := s.sealer.Open(nil, p.Wire)
	if err != nil {
		return stream.Catalog{}, err
	}
	return stream.ParseCatalog(b)
}

// finish is the speaker's word that its stream is over.
func (s *live) finish(why string) {
	if s.ended {
		return
	}
	s.end(why)
	if err := s.pub.Close(); err != nil {
		s.logger().Warn("the end of the stream was not said", "err", err)
	}
	head := s.tree.View().Head
	head.Seq++
	s.room.presence.PublishHead(dhtHead(head, s.speaker, true))
}

// end marks the stream as over; players drain, the tree stays for a moment so that
// those below hear it too.
func (s *live) end(why string) {
	if s.ended {
		return
	}
	s.ended, s.endedAt = true, time.Now()
	s.logger().Info("stream ended", "why", why)
	s.room.tellSpeakers()
}

// endedGrace is how long an ended stream is still shown and served.
const endedGrace = 5 * time.Second

// over says whether the stream can be forgotten.
func (s *live) over(now time.Time) bool {
	if s.ended {
		return now.Sub(s.endedAt) > endedGrace
	}
	if s.root() {
		return false
	}
	last := s.media.progress(s.hist, now)
	if s.headAt.After(last) {
		last = s.headAt
	}
	return now.Sub(last) > silentForGood
}

// silentSoon is how long after the last packet heads are listened to again: the speaker may
// have been started anew, with another stream, which nobody below can know otherwise.
const silentSoon = time.Second

// listenWhenSilent hears heads while nothing comes.
func (s *live) listenWhenSilent(now time.Time) {
	silent := !s.ended && now.Sub(s.media.progress(s.hist, now)) > silentSoon
	if silent != s.silent {
		s.silent = silent
		s.room.watch()
	}
}

// tellIdle tells the tree of children that hold a slot and do not take the stream.
func (s *live) tellIdle() {
	was := s.idle
	s.idle = nil
	for _, c := range s.tree.View().Children {
		if p := s.room.n.peers[c.Node]; p == nil || p.link.Takes(s.id) {
			continue
		}
		if s.idle == nil {
			s.idle = map[tree.NodeID]int{}
		}
		s.idle[c.Node] = was[c.Node] + 1
		s.step(tree.Idle{Peer: c.Node, For: time.Duration(was[c.Node]) * tick})
	}
}

func (s *live) stopTasks() {
	for _, c := range s.stop {
		c()
	}
	s.stop = nil
}

// task is Node.task, cancelled when the stream is dropped or by the function returned.
func (s *live) task(work func(ctx context.Context) func()) context.CancelFunc {
	ctx, cancel := context.WithCancel(s.room.n.ctx)
	s.stop = append(s.stop, cancel)
	s.room.n.task(func(context.Context) func() { return work(ctx) })
	return cancel
}

// mediaWatch notes when the newest numbers last moved.
type mediaWatch struct {
	sum uint64
	at  time.Time
}

// progress returns the time at which media was last seen to come.
func (m *mediaWatch) progress(h *stream.History, now time.Time) time.Time {
	var sum uint64
	for _, t := range h.Stats() {
		sum += t.Received
	}
	if sum != m.sum {
		m.sum, m.at = sum, now
	}
	return m.at
}
