package node

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/playback"
	"github.com/watergy/waterfall/tree"
)

// maxStreams bounds the streams of a room that a node follows: one that is
// announced beyond it is ignored until another ends.
const maxStreams = 16

// room is this node's part in one room: its presence in the DHT and the trees of
// the room's streams.
type room struct {
	n        *Node
	room     *dht.Room
	before   *dht.Room // of the last epoch, once there is a new one
	newest   uint64    // number of the newest room record heard of
	handed   uint64    // number of the newest room record handed on
	doubtDue time.Time // when trees look for others in the place of parents that have not
	proofDue time.Time // when the neighbours must have proven membership in a new epoch
	presence *dht.Presence
	stopPump context.CancelFunc
	inside   context.Context // ends when this node is no longer admitted, with the reason
	gone     context.CancelCauseFunc
	log      *slog.Logger

	leaving   bool            // nothing new is begun
	hints     []peer.AddrInfo // for its ticket
	speaking  string          // the kind of input; empty: not speaking here
	listening bool
	delay     time.Duration
	record    string
	recorded  int // recordings begun
	streams   map[stream.ID]*live

	whip *ingest.WHIP
	whep *playback.WHEP
}

// enter begins to take part in a room; entering twice is an error.
func (n *Node) enter(r *dht.Room, role string) (*room, error) {
	if n.rooms[r.ID] != nil {
		return nil, fmt.Errorf("already in room %s", r.ID)
	}
	p, err := n.host.Enter(r, dht.Member{Peer: n.ID(), Name: r.Name, Since: time.Now(), Roles: []string{role}})
	if err != nil {
		return nil, fmt.Errorf("enter room: %w", err)
	}
	rm := &room{
		n: n, room: r, presence: p, log: n.log.With("room", r.ID), streams: map[stream.ID]*live{},
		newest: r.Seq(r.Record),
	}
	rm.inside, rm.gone = context.WithCancelCause(n.ctx)
	n.rooms[r.ID] = rm
	rm.startPump()
	return rm, nil
}

// startPump carries what comes by signalling to the loop, until stopPump.
func (r *room) startPump() {
	ctx, cancel := context.WithCancel(r.inside)
	r.stopPump = cancel
	p := r.presence
	r.n.task(func(context.Context) func() { r.pump(ctx, p); return nil })
}

func (r *room) pump(ctx context.Context, p *dht.Presence) {
	// What came under an epoch's secret is not taken in another.
	post := func(f func()) {
		r.n.post(func() {
			if r.presence == p {
				f()
			}
		})
	}
	for {
		select {
		case h := <-p.Heads():
			post(func() { r.headSeen(h) })
		case o := <-p.Offers():
			post(func() { r.offerSeen(o) })
		case a := <-p.Answers():
			post(func() { r.answerSeen(a) })
		case raw := <-p.Records():
			post(func() { r.recordSeen(raw, "") })
		case <-ctx.Done():
			return
		}
	}
}

// headSeen follows a new stream, or tells its tree where there is room.
func (r *room) headSeen(h dht.Head) {
	s := r.streams[h.Stream]
	switch {
	case !belongsTo(h.Stream, h.Speaker):
		r.log.Debug("a stream of another speaker's name", "announced by", h.Speaker)
		return
	case s == nil && (h.Ended || r.leaving || !r.listening || h.Speaker == r.n.ID()):
		return
	case s == nil && r.outdated(h):
		return // an old record, of before its speaker was started anew
	case s == nil && len(r.streams) >= maxStreams:
		r.log.Warn("too many streams in this room; one is ignored", "speaker", h.Speaker)
		return
	case s == nil:
		var err error
		if s, err = r.follow(h.Stream, h.Speaker); err != nil {
			r.log.Warn("cannot follow stream", "speaker", h.Speaker, "err", err)
			return
		}
		r.log.Info("a speaker is live", "speaker", h.Speaker, "stream", s.name())
	}
	if s.speaker != h.Speaker || s.root() {
		return
	}
	if h.Ended {
		s.end("the speaker has ended the stream")
		return
	}
	s.headAt, s.said = time.Now(), max(s.said, h.Said)
	s.step(tree.HeadSeen{Head: treeHead(h)})
}

// follow begins to listen to a stream.
func (r *room) follow(id stream.ID, speaker peer.ID) (*live, error) {
	r.supersede(speaker)
	s, err := r.add(id, speaker, false)
	if err != nil {
		return nil, err
	}
	s.watchFirstFrame()
	if r.record != "" {
		r.recorded++
		s.record(numbered(r.record, r.recorded))
	}
	return s, nil
}

// add makes the tree and the history of a stream.
func (r *room) add(id stream.ID, speaker peer.ID, root bool) (*live, error) {
	box := r.presence.Box()
	t, err := tree.New(tree.Config{
		Self: tree.NodeID(r.n.ID()), Stream: tree.StreamID(id), Root: root,
		Slots: r.n.cfg.startSlots(root), Contact: box[:], Seed: rand.Uint64(),
		AnswerWait: r.n.answerWait(), Reach: r.n.reach,
	})
	if err != nil {
		return nil, fmt.Errorf("make the tree: %w", err)
	}
	sealer, err := r.newSealer(id)
	if err != nil {
		return nil, fmt.Errorf("make the seal: %w", err)
	}
	history := stream.HistoryConfig{Bytes: r.n.cfg.HistoryBytes}
	if !root {
		if history.Key, err = checkingKey(speaker); err != nil {
			return nil, err
		}
	}
	s := &live{
		room: r, id: id, speaker: speaker, tree: t, sealer: sealer,
		hist:    stream.NewHistory(id, history),
		pending: map[tree.OfferID]*pendingOffer{},
		uplink:  newUplink(r.n.cfg.slots(root), r.n.cfg.Uplink),
		headAt:  time.Now(),
	}
	if r.n.cfg.Tap != nil {
		r.n.cfg.Tap(s.hist)
	}
	r.streams[id] = s
	r.n.streams[id] = s
	s.step(nil)
	r.tellSpeakers()
	r.n.budget(time.Now())
	return s, nil
}

// answerWait is how long an answer may take: the DHT alone does not notify, those who
// take offers look into it every few seconds.
func (n *Node) answerWait() time.Duration {
	if n.cfg.Signal == dht.DHT {
		return 6 * time.Second
	}
	return 0
}

// drop forgets a stream that is over.
func (r *room) drop(s *live) {
	s.hist.End()
	s.stopTasks()
	for _, p := range s.pending {
		p.close(r.n)
	}
	r.n.forgetUser(s)
	delete(r.streams, s.id)
	delete(r.n.streams, s.id)
	r.tellSpeakers()
	r.watch()
}

// watch tells the presence what this node must hear: heads while any stream (or none
// at all) lacks a parent, offers for those streams where it is near the top.
func (r *room) watch() {
	heads := r.listening && (len(r.streams) == 0 || r.room.ManySpeak())
	var offers [][16]byte
	for _, s := range r.sorted() {
		heads = heads || (s.watchHeads || s.silent) && !s.root()
		if s.watchOffers {
			offers = append(offers, s.id)
		}
	}
	r.presence.Watch(heads, offers)
}

func (r *room) close() {
	if r.whip != nil {
		r.whip.Close()
	}
	if r.whep != nil {
		r.whep.Close()
	}
	r.gone(nil)
	r.presence.Leave()
}

// findRoom resolves what a URL says: a room ID, or "current" for the only room.
func (n *Node) findRoom(name string) (*room, error) {
	if name == "current" || name == "" {
		if len(n.rooms) != 1 {
			return nil, fmt.Errorf("this node is in %d rooms: name one", len(n.rooms))
		}
		for _, r := range n.rooms {
			return r, nil
		}
	}
	id, err := peer.Decode(name)
	if err != nil {
		return nil, fmt.Errorf("%q is no room ID", name)
	}
	if r := n.rooms[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("this node is not in room %s", name)
}

var errMayNotSpeak = fmt.Errorf("%w: this node may not speak in this room (hint: the room's maker can let it: wfnode room speaker add ROOM PEER)", dht.ErrRefused)

func (r *room) whipHandler() (http.Handler, error) {
	if !r.room.MaySpeak(r.n.ID()) {
		return nil, errMayNotSpeak
	}
	if r.whip == nil {
		w, err := ingest.NewWHIP(r.target(), "/whip/"+r.room.ID.String(), ingest.WHIPConfig{
			Net: r.n.cfg.Net, Log: r.log.With("part", "whip"),
		})
		if err != nil {
			return nil, err
		}
		r.whip = w
	}
	return r.whip, nil
}

func (r *room) whepHandler() (http.Handler, error) {
	if r.whep == nil {
		w, err := playback.NewWHEP("/whep/"+r.room.ID.String(), r.pickHTTP, playback.WHEPConfig{
			Net: r.n.cfg.Net, Seats: r.n.seats, Log: r.log.With("part", "whep"),
		})
		if err != nil {
			return nil, err
		}
		r.whep = w
	}
	return r.whep, nil
}
