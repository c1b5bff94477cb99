package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/stream/link"
	"github.com/watergy/waterfall/tree"
)

// gatherTime bounds the making of a link description; STUN inside it is capped at
// 300 ms by link.
const gatherTime = 2 * time.Second

// pendingOffer is an offer of ours that is out; link is nil until it has been gathered.
type pendingOffer struct {
	link *link.Link
}

func (p *pendingOffer) close(n *Node) {
	if p.link != nil {
		n.closeLink(p.link)
	}
}

// sendOffer gathers a fresh link description and sends it to the entry, or along the tree.
func (s *live) sendOffer(a tree.SendOffer) {
	if a.Via == "" && len(a.To.Contact) != 32 {
		return // no key to seal to; the tree asks another when no answer comes
	}
	if a.Via == "" && s.room.n.distrusted(a.To.Node) {
		s.step(tree.AnswerReceived{Offer: a.Offer, From: a.To.Node, Verdict: tree.Full})
		return
	}
	p := &pendingOffer{}
	s.pending[a.Offer] = p
	n := s.room.n
	n.task(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, gatherTime)
		defer cancel()
		l, desc, err := n.links.Offer(ctx)
		return func() {
			if err != nil {
				s.logger().Warn("cannot make an offer", "err", err)
				return
			}
			if s.pending[a.Offer] != p {
				n.closeLink(l)
				return
			}
			p.link = l
			body := offerBody{
				below: a.Below, avoid: a.Avoid, desc: desc, purpose: a.Purpose, slots: uint8(min(a.Slots, 255)),
				reach: a.Reach, up: uint8(min(a.Up, 255)),
			}.append(nil)
			if err := s.carryOffer(a, body); err != nil {
				s.logger().Warn("cannot send an offer", "err", err)
			}
		}
	})
}

func (s *live) carryOffer(a tree.SendOffer, body []byte) error {
	presence := s.room.presence
	if a.Via == "" {
		return presence.SendOffer(s.id, peer.ID(a.To.Node), [32]byte(a.To.Contact), uint64(a.Offer), body)
	}
	raw, err := presence.MakeOffer(s.id, uint64(a.Offer), body)
	if err != nil {
		return err
	}
	s.room.n.send(a.Via, tree.Marshal(tree.StreamID(s.id), tree.HandUp{Deepest: a.Deepest, Offer: tree.Offer{
		ID: a.Offer, Joiner: tree.NodeID(s.room.n.ID()), Purpose: a.Purpose, Below: a.Below, Slots: a.Slots,
		Avoid: a.Avoid, Reach: a.Reach, Up: a.Up, Raw: raw,
	}}))
	return nil
}

// offerSeen takes a joiner's offer that came by signalling.
func (r *room) offerSeen(o dht.Offer) {
	s := r.streams[o.Stream]
	if s == nil {
		return
	}
	t, err := s.treeOffer(o)
	if err != nil {
		s.logger().Debug("bad offer", "from", o.Joiner, "err", err)
		return
	}
	s.step(tree.OfferReceived{Offer: t})
}

// passDuty tells the presence of the head that came down the tree: its first entries look
// for offers in the DHT.
func (s *live) passDuty() {
	if !s.watchOffers || s.root() {
		return
	}
	if h := s.tree.View().Head; h.Seq != s.passed {
		s.passed = h.Seq
		s.room.presence.HeadPassed(s.id, dhtHead(h, s.speaker, false).Entries)
	}
}

// checkOffer opens an offer that was handed on.
func (s *live) checkOffer(raw []byte) (tree.Offer, error) {
	o, err := s.room.presence.ParseForwarded(raw)
	if err != nil {
		return tree.Offer{}, err
	}
	if o.Stream != s.id {
		return tree.Offer{}, errors.New("offer for another stream")
	}
	return s.treeOffer(o)
}

func (s *live) treeOffer(o dht.Offer) (tree.Offer, error) {
	body, err := parseOfferBody(o.Body)
	if err != nil {
		return tree.Offer{}, err
	}
	return tree.Offer{
		ID: tree.OfferID(o.ID), Joiner: tree.NodeID(o.Joiner), Purpose: body.purpose, Below: body.below, Slots: int(body.slots),
		Avoid: body.avoid, Reach: body.reach, Up: int(body.up), Raw: o.Forward(),
	}, nil
}

// answer answers another's offer: with our side of a new link, with the one that is
// there, or with the word that there is no room.
func (s *live) answer(a tree.Answer) {
	o, err := s.room.presence.ParseForwarded(a.Offer.Raw)
	if err != nil {
		s.logger().Warn("an accepted offer does not open", "err", err)
		return
	}
	ans := answerBody{verdict: a.Verdict, path: a.Path}
	n := s.room.n
	if a.Verdict != tree.Accepted {
		s.sendAnswer(o, ans, a.Via)
		return
	}
	old := n.peers[a.Offer.Joiner]
	switch {
	case old == nil:
	case old.up && old.with(o.Box):
		old.use(s)
		ans.useLink = true
		s.sendAnswer(o, ans, a.Via)
		s.step(tree.LinkUp{Peer: a.Offer.Joiner})
		return
	case !old.up && old.ours && old.with(o.Box) && tree.NodeID(n.ID()) < a.Offer.Joiner:
		// Two that offer to each other: the lower ID's offer wins (DESIGN 4).
		old.use(s)
		ans.useLink = true
		s.sendAnswer(o, ans, a.Via)
		return
	}
	body, err := parseOfferBody(o.Body)
	if err != nil {
		return
	}
	epoch := s.room.room.Epoch
	n.task(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, gatherTime)
		defer cancel()
		l, desc, err := n.links.Answer(ctx, string(a.Offer.Joiner), body.desc)
		return func() {
			if err != nil {
				s.logger().Warn("cannot answer an offer", "from", o.Joiner, "err", err)
				s.step(tree.LinkDown{Peer: a.Offer.Joiner})
				return
			}
			if s.room.room.Epoch != epoch { // the offer proved membership in another
				n.closeLink(l)
				s.step(tree.LinkDown{Peer: a.Offer.Joiner})
				return
			}
			n.adopt(a.Offer.Joiner, &peerLink{link: l, box: o.Box}, s)
			ans.desc = desc
			s.sendAnswer(o, ans, a.Via)
		}
	})
}

// sendAnswer answers by signalling, or via a neighbour along the tree.
func (s *live) sendAnswer(o dht.Offer, b answerBody, via tree.NodeID) {
	var err error
	if via == "" {
		err = s.room.presence.SendAnswer(o, b.append(nil))
	} else {
		var raw []byte
		if raw, err = s.room.presence.MakeAnswer(o, b.append(nil)); err == nil {
			s.room.n.send(via, tree.Marshal(tree.StreamID(s.id), tree.Reply{
				Joiner: tree.NodeID(o.Joiner), Offer: tree.OfferID(o.ID), Raw: raw,
			}))
		}
	}
	if err != nil {
		s.logger().Warn("cannot send an answer", "to", o.Joiner, "err", err)
	}
}

// answerSeen takes the answer to an offer of our own.
func (r *room) answerSeen(a dht.Answer) {
	s := r.streams[a.Stream]
	if s == nil {
		return
	}
	p := s.pending[tree.OfferID(a.ID)]
	if p == nil || p.link == nil {
		return
	}
	body, err := parseAnswerBody(a.Body)
	if err != nil {
		s.logger().Debug("bad answer", "from", a.From, "err", err)
		return
	}
	n, from := r.n, tree.NodeID(a.From)
	if n.distrusted(from) {
		s.logger().Debug("a forger's answer is not taken", "from", a.From)
		body.verdict = tree.Full
	}
	ev := tree.AnswerReceived{Offer: tree.OfferID(a.ID), From: from, Verdict: body.verdict, Path: body.path}
	s.join.answered(n, a.Via)
	delete(s.pending, tree.OfferID(a.ID))
	known := n.peers[from]
	switch {
	case body.verdict != tree.Accepted:
		n.closeLink(p.link)
		s.step(ev)
	case known != nil && (body.useLink || !known.ours && known.with(a.Box) && tree.NodeID(n.ID()) > from):
		// The second: the other has offered to us meanwhile, and its offer wins.
		n.closeLink(p.link)
		known.use(s)
		s.step(ev)
		if known.up {
			s.step(tree.LinkUp{Peer: from})
		}
	case body.useLink: // it has ended here since: that is no reason to keep away from its other end
		n.closeLink(p.link)
		ev.Verdict = tree.Full
		s.step(ev)
	default:
		n.adopt(from, &peerLink{link: p.link, box: a.Box, ours: true}, s)
		s.step(ev)
		if err := p.link.Accept(string(from), body.desc); err != nil {
			s.logger().Warn("cannot take an answer", "from", a.From, "err", err)
			if p := n.peers[from]; p != nil {
				n.lose(from, p)
			}
		}
	}
}

// offerBody is what an offer carries through dht: the size of the joiner's own
// subtree (uvarint), the parent it has or has lost (length, bytes), its link description,
// the offer's purpose (1 byte), how many children the joiner would take (1 byte), its NAT
// (1 byte) and site (2 bytes), and the minutes that it has been here (1 byte). Who says
// nothing of the last four bytes is of unknown reach.
type offerBody struct {
	below   int
	avoid   tree.NodeID
	desc    link.Description
	purpose tree.Purpose
	slots   uint8
	reach   tree.Reach
	up      uint8
}

func (o offerBody) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(max(1, o.below)))
	b = o.desc.Append(appendID(b, o.avoid))
	b = append(b, byte(o.purpose), o.slots, byte(o.reach.NAT))
	return append(binary.BigEndian.AppendUint16(b, o.reach.Site), o.up)
}

// maxID bounds a node ID; an Ed25519 peer ID has 38 bytes.
const maxID = 64

func appendID(b []byte, id tree.NodeID) []byte { return append(append(b, byte(len(id))), id...) }

// cutID reads what appendID wrote and returns what follows.
func cutID(b []byte) (tree.NodeID, []byte, error) {
	if len(b) < 1 || b[0] > maxID || len(b) < 1+int(b[0]) {
		return "", nil, errBody
	}
	n := 1 + int(b[0])
	return tree.NodeID(b[1:n]), b[n:], nil
}

var errBody = errors.New("malformed body")

// maxBelow bounds what a joiner may claim to bring along.
const maxBelow = 1 << 24

func parseOfferBody(b []byte) (offerBody, error) {
	below, k := binary.Uvarint(b)
	if k <= 0 || below == 0 || below > maxBelow {
		return offerBody{}, errBody
	}
	avoid, b, err := cutID(b[k:])
	if err != nil {
		return offerBody{}, err
	}
	d, b, err := link.ParseDescription(b)
	if err != nil {
		return offerBody{}, fmt.Errorf("link description: %w", err)
	}
	if len(b) < 2 || tree.Purpose(b[0]) > tree.ToStand {
		return offerBody{}, errBody
	}
	o := offerBody{below: int(below), avoid: avoid, desc: d, purpose: tree.Purpose(b[0]), slots: b[1]}
	if b = b[2:]; len(b) >= 4 {
		if nat := tree.NAT(b[0]); nat <= tree.NATSymmetric {
			o.reach.NAT = nat
		}
		o.reach.Site, o.up = binary.BigEndian.Uint16(b[1:]), b[3]
	}
	return o, nil
}

// answerBody is what an answer carries: verdict (1 byte), 1 if the link that is there
// shall be used (1 byte), the acceptor's path (count, then length and bytes each), and
// its link description unless there is none.
type answerBody struct {
	verdict tree.Verdict
	useLink bool
	path    []tree.NodeID
	desc    link.Description
}

// maxPath bounds a path; a tree of 4 slots that deep holds more than there are people.
const maxPath = 64

func (a answerBody) append(b []byte) []byte {
	b = append(b, byte(a.verdict), 0)
	if a.useLink {
		b[len(b)-1] = 1
	}
	path := a.path[:min(len(a.path), maxPath)]
	b = append(b, byte(len(path)))
	for _, id := range path {
		b = appendID(b, id)
	}
	if a.verdict == tree.Accepted && !a.useLink {
		b = a.desc.Append(b)
	}
	return b
}

func parseAnswerBody(b []byte) (answerBody, error) {
	if len(b) < 3 || b[2] > maxPath {
		return answerBody{}, errBody
	}
	a := answerBody{verdict: tree.Verdict(b[0]), useLink: b[1] == 1}
	if a.verdict < tree.Accepted || a.verdict > tree.OutOfReach {
		return answerBody{}, errBody
	}
	count := int(b[2])
	b = b[3:]
	for range count {
		id, rest, err := cutID(b)
		if err != nil {
			return answerBody{}, err
		}
		a.path, b = append(a.path, id), rest
	}
	if a.verdict == tree.Accepted && !a.useLink {
		d, _, err := link.ParseDescription(b)
		if err != nil {
			return answerBody{}, fmt.Errorf("link description: %w", err)
		}
		a.desc = d
	}
	return a, nil
}
