package node

import (
	"context"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/tree"
)

// Control messages of a room, beside those of package tree and of charts; each begins
// with the ID of a stream that the two nodes share (docs/protocol-dht.md).
const (
	roomRecord = 0x42 // a newer room record, handed on as it came
	roomProof  = 0x43 // proof of membership in an epoch: epoch (2 B), proof (16 B)
)

const (
	// resealAfter is when the speaker begins to seal with a new secret, after it has it:
	// by then the others have it too (DESIGN 5).
	resealAfter = 3 * time.Second
	// proofTime is how long a neighbour may take to prove that it has the new secret.
	proofTime = 3 * time.Second
	// doubtTime is when another is looked for in the place of a parent that has not:
	// most prove it within some round trips, and it still delivers then.
	doubtTime = proofTime / 2
	// reopenTries and reopenPause: a part of a new record may still be on its way.
	reopenTries = 6
	reopenPause = 500 * time.Millisecond
)

// recordSeen takes a room record that may be newer than ours, hands it on once, and opens
// it beside the loop.
func (r *room) recordSeen(raw []byte, from tree.NodeID) {
	seq := r.room.Seq(raw)
	if seq <= r.newest {
		return
	}
	r.newest = seq
	if seq > r.handed {
		r.handed = seq
		r.handOn(raw, from)
	}
	host, old := r.n.host, r.room
	r.n.task(func(ctx context.Context) func() {
		var next *dht.Room
		var err error
		for range reopenTries {
			next, err = host.Reopen(ctx, old, raw)
			if err == nil || errors.Is(err, dht.ErrRefused) || errors.Is(err, dht.ErrClosedRoom) || ctx.Err() != nil {
				break
			}
			select {
			case <-time.After(reopenPause):
			case <-ctx.Done():
			}
		}
		return func() { r.reopened(next, err, seq) }
	})
}

// handOn sends a room record to all neighbours but from.
func (r *room) handOn(raw []byte, from tree.NodeID) {
	for id, p := range r.n.peers {
		if s := p.of(r); s != nil && id != from {
			r.n.send(id, append(s.id[:len(s.id):len(s.id)], append([]byte{roomRecord}, raw...)...))
		}
	}
}

// reopened goes on with a new record, or leaves if we are no longer let in.
func (r *room) reopened(next *dht.Room, err error, seq uint64) {
	switch {
	case seq < r.newest || r.leaving: // a newer one has come meanwhile, or it is all one
	case err == nil:
		r.renew(next)
	case errors.Is(err, dht.ErrRefused) || errors.Is(err, dht.ErrClosedRoom):
		r.log.Error("this node is no longer admitted", "err", err)
		r.expel(err)
	default:
		r.log.Warn("a new room record does not open", "err", err)
		r.newest = r.room.Seq(r.room.Record) // it is tried again when it is next heard of
	}
}

// renew goes by a new record.
func (r *room) renew(next *dht.Room) {
	old := r.room
	r.room = next
	r.listening = r.listening || r.room.ManySpeak() // a speaker, too, once there are others
	if next.Epoch != old.Epoch {
		r.before = old
		r.renewEpoch(time.Now())
	} else {
		r.presence.Renew(next)
	}
	for _, s := range r.sorted() {
		if next.MaySpeak(s.speaker) {
			continue
		}
		s.logger().Info("the speaker may no longer speak", "speaker", s.speaker)
		if s.root() {
			s.finish("this node may no longer speak")
		} else {
			s.end("the speaker may no longer speak")
			r.drop(s)
		}
	}
	if r.speaking != "" && !next.MaySpeak(r.n.ID()) {
		r.expel(errMayNotSpeak)
	}
	r.log.Info("new room record", "epoch", next.Epoch)
	r.watch()
}

// renewEpoch changes all that hangs on the room's secret.
func (r *room) renewEpoch(now time.Time) {
	n, gone := r.n, r.presence
	r.stopPump()
	r.presence = gone.Renew(r.room)
	r.startPump()
	n.task(func(context.Context) func() { gone.Leave(); return nil })
	for _, s := range r.streams {
		if err := s.sealer.Add(r.room.MediaKey(s.id), r.room.Epoch); err != nil {
			s.logger().Error("no key of the new epoch", "err", err)
		}
		if s.pub != nil {
			s.pub.Reseal(now.Add(resealAfter))
		}
	}
	r.proofDue, r.doubtDue = now.Add(proofTime), now.Add(doubtTime)
	for id, p := range n.peers {
		s := p.of(r)
		if s == nil {
			continue
		}
		proof := r.room.Proof(n.ID(), peer.ID(id))
		b := append(s.id[:len(s.id):len(s.id)], roomProof)
		n.send(id, append(binary.BigEndian.AppendUint16(b, r.room.Epoch), proof[:]...))
		if c, ok := p.claims[r.room.ID]; ok {
			delete(p.claims, r.room.ID)
			r.claim(id, p, c)
		}
	}
}

// claim takes a neighbour's proof of membership.
func (r *room) claim(id tree.NodeID, p *peerLink, b []byte) {
	if len(b) != 18 {
		return
	}
	epoch := binary.BigEndian.Uint16(b)
	switch {
	case epoch > r.room.Epoch:
		if p.claims == nil {
			p.claims = map[peer.ID][]byte{}
		}
		p.claims[r.room.ID] = b // until we know the secret
		r.presence.Behind()
	case epoch == r.room.Epoch:
		if want := r.room.Proof(peer.ID(id), r.n.ID()); hmac.Equal(want[:], b[2:]) {
			p.prove(r)
		}
	}
}

// prove notes that a neighbour is a member in the room's current epoch.
func (p *peerLink) prove(r *room) {
	if p.proven == nil {
		p.proven = map[peer.ID]uint16{}
	}
	p.proven[r.room.ID] = r.room.Epoch
}

// use makes a link serve another stream, of whose room the other is a member as its
// offer or answer shows.
func (p *peerLink) use(s *live) {
	p.users[s] = true
	p.prove(s.room)
}

// member says whether a neighbour is one of the room: proven in this epoch, or in an
// earlier one while it may still prove the new.
func (p *peerLink) member(r *room, now time.Time) bool {
	epoch, ok := p.proven[r.room.ID]
	return ok && (epoch == r.room.Epoch || now.Before(r.proofDue))
}

// of is a stream of r that uses the link; nil if none does.
func (p *peerLink) of(r *room) *live {
	for s := range p.users {
		if s.room == r {
			return s
		}
	}
	return nil
}

// doubt has trees look for others in the place of parents that have not proven membership
// yet, as if those had said that they leave.
func (r *room) doubt(now time.Time) {
	if r.doubtDue.IsZero() || now.Before(r.doubtDue) {
		return
	}
	r.doubtDue = time.Time{}
	for _, s := range r.sorted() {
		parent := s.tree.View().Parent
		if p := r.n.peers[parent]; p != nil && p.proven[r.room.ID] != r.room.Epoch {
			s.step(tree.MessageReceived{From: parent, Message: tree.Leaving{}})
		}
	}
}

// cutStrangers gives up neighbours that have not proven membership in time.
func (r *room) cutStrangers(now time.Time) {
	if r.proofDue.IsZero() || now.Before(r.proofDue) {
		return
	}
	r.proofDue = time.Time{}
	for id, p := range r.n.peers {
		if p.of(r) == nil || p.member(r, now) {
			continue
		}
		r.log.Info("a neighbour that does not know the new secret is left", "peer", peer.ID(id))
		r.n.cut(id, p, r)
	}
}

// cut ends a room's use of a link.
func (n *Node) cut(id tree.NodeID, p *peerLink, r *room) {
	delete(p.proven, r.room.ID)
	var cut []*live
	for s := range p.users {
		if s.room == r {
			cut = append(cut, s)
			delete(p.users, s)
			s.past.add(p.link, s.id)
			p.link.Unserve(s.id)
			p.link.Drop(s.id)
		}
	}
	if len(p.users) == 0 {
		delete(n.peers, id)
		n.closeLink(p.link)
	}
	for _, s := range cut {
		s.step(tree.LinkDown{Peer: id})
	}
}

// roomMessage takes a control message if it is one of the room.
func (r *room) roomMessage(from tree.NodeID, p *peerLink, b []byte) bool {
	const at = len(stream.ID{})
	if len(b) <= at {
		return false
	}
	switch b[at] {
	case roomRecord:
		r.recordSeen(b[at+1:], from)
	case roomProof:
		r.claim(from, p, b[at+1:])
	default:
		return false
	}
	return true
}

// expel ends what this node does in the room, with err.
func (r *room) expel(err error) { r.gone(err) }

// newSealer has the keys of the last two epochs: the speaker may still use the first.
func (r *room) newSealer(id stream.ID) (*stream.Sealer, error) {
	if r.before == nil {
		return stream.NewSealer(r.room.MediaKey(id), r.room.Epoch)
	}
	s, err := stream.NewSealer(r.before.MediaKey(id), r.before.Epoch)
	if err == nil {
		err = s.Add(r.room.MediaKey(id), r.room.Epoch)
	}
	return s, err
}
