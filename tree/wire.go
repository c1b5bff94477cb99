package tree

import (
	"fmt"
	"time"
)

// Message is what two linked nodes say to each other about one stream over the
// link's control channel; see the types that implement it.
type Message interface{ message() }

// Bounds of the wire format. What exceeds them is refused by Unmarshal.
const (
	MaxMessage = 8 << 10 // bytes of one message
	maxID      = 64      // bytes of a NodeID
	maxContact = 64      // bytes of a contact
	maxRaw     = 1024    // bytes of Offer.Raw
	maxReply   = 4096    // bytes of Reply.Raw
	maxPath    = 64      // nodes from the root to a node; also layers in a histogram and hops of an offer
	maxEntries = 16      // entries of a head
	maxBelow   = 4       // entries of a Sum
	maxCount   = 1 << 31 // any count of nodes or slots stays below
	maxSlots   = 255     // said of a node; it may have more
	maxUp      = 255     // minutes
	maxDelay   = time.Minute
)

// Hop is a node on a path.
type Hop struct {
	Node    NodeID
	Contact []byte // empty when far above: layers 0 to 2 and the 16 nearest have theirs
}

type (
	// Path, parent to child: where the parent stands. Hops are root first, the sender last.
	Path struct {
		Stamp uint64        // newest number of the root's that has come to the sender down the tree
		Delay time.Duration // of the stream from the root to the sender; whole µs
		Slots int           // of the sender, 255 at most
		Hops  []Hop
		Reach Reach // of the sender
		Up    int   // minutes that the sender has been here, 255 at most
	}
	// Sum, child to parent: the subtree of the sender. Index 0 of both histograms is
	// the sender, 1 its children, and so on.
	Sum struct {
		Seen    uint64   // HandDown.Num of the newest offer that this sum reckons with
		Slots   int      // of the sender, 255 at most
		Layers  []uint32 // nodes
		Open    []uint32 // free slots
		Contact []byte   // of the sender; only near the top
		Entries []Entry  // ≤ 4 of the sender's children; only near the top
		Reach   Reach    // of the sender
		Up      int      // minutes that the sender has been here, 255 at most
		// Strict are those of Open that will do for a joiner behind a restricted NAT, and
		// for one behind a symmetric NAT. Empty: all of the one before.
		Strict [needs - 1][]uint32
	}
	// HeadDown, parent to child: a head newer than the last. Without entries, those of the
	// last hold on.
	HeadDown struct {
		Stamp uint64        // as in Path
		Delay time.Duration // as in Path
		Head  Head
	}
	// HandDown, parent to child: an offer for a node of the child's subtree.
	HandDown struct {
		Num     uint64 // counts the offers handed to this child
		Hops    int    // times that the offer was handed on
		Deepest int    // layer below which the joiner must not be put
		Offer   Offer
	}
	// HandUp, child to parent: an offer of the child's, or of one below it.
	HandUp struct {
		Hops    int
		Deepest int
		Offer   Offer
	}
	// Reply, along the tree the way that the offer came: the acceptor's answer. Raw is
	// opaque here, as Offer.Raw is.
	Reply struct {
		Joiner NodeID
		Offer  OfferID
		Raw    []byte
	}
	// NoRoom, to whom the offer came from: it found no place.
	NoRoom struct {
		Joiner NodeID
		Offer  OfferID
	}
	// Leaving, to parent and children: the sender will go as soon as its children have moved.
	Leaving struct{}
	// Gone: the sender is no longer the receiver's parent, child, backup or standby.
	Gone struct{}
	// Stand, to a backup: the sender takes nothing for now. Its parent is Parent.
	Stand struct{ Parent NodeID }
	// Move, parent to child: the sender has more children than slots; the receiver should
	// look for another place, and is served until it has one.
	Move struct{}
	// Fresh, child to parent: a newer stamp is wanted.
	Fresh struct{}
	// Beat, parent to child or backup to standby: a newer stamp.
	Beat struct {
		Stamp uint64
		Delay time.Duration // as in Path
	}
)

func (Path) message()     {}
func (Sum) message()      {}
func (HeadDown) message() {}
func (HandDown) message() {}
func (HandUp) message()   {}
func (Reply) message()    {}
func (NoRoom) message()   {}
func (Leaving) message()  {}
func (Gone) message()     {}
func (Stand) message()    {}
func (Move) message()     {}
func (Fresh) message()    {}
func (Beat) message()     {}

// Types on the wire; never renumbered.
const (
	typePath = iota + 1
	typeSum
	typeHeadDown
	typeHandDown
	typeNoRoom
	typeLeaving
	typeGone
	typeFresh
	typeBeat
	typeHandUp
	typeReply
	typeStand
	typeMove
)

// Marshal encodes m for stream s. What a Peer sends fits into MaxMessage bytes.
//
// Layout: stream ID (16 bytes), type (1 byte), body. In bodies a number is a uvarint,
// bytes are a length and that many bytes, a list is a count and that many items.
func Marshal(s StreamID, m Message) []byte {
	e := encoder(append(make([]byte, 0, 64), s[:]...))
	switch m := m.(type) {
	case Path:
		e.byte(typePath)
		e.uint(m.Stamp)
		e.delay(m.Delay)
		e.uint(uint64(m.Slots))
		e.uint(uint64(len(m.Hops)))
		for _, h := range m.Hops {
			e.bytes([]byte(h.Node))
			e.bytes(h.Contact)
		}
		e.standing(m.Reach, m.Up)
	case Sum:
		e.byte(typeSum)
		e.uint(m.Seen)
		e.uint(uint64(m.Slots))
		e.counts(m.Layers)
		e.counts(m.Open)
		e.bytes(m.Contact)
		e.entries(m.Entries)
		e.standing(m.Reach, m.Up)
		for _, open := range m.Strict {
			e.counts(open)
		}
	case HeadDown:
		e.byte(typeHeadDown)
		e.uint(m.Stamp)
		e.delay(m.Delay)
		e.uint(m.Head.Seq)
		e.entries(m.Head.Entries)
		e.counts(m.Head.Layers)
		e.uint(uint64(m.Head.Free))
		e.counts(m.Head.Open)
	case HandDown:
		e.byte(typeHandDown)
		e.uint(m.Num)
		e.uint(uint64(m.Hops))
		e.uint(uint64(m.Deepest))
		e.offer(m.Offer)
	case NoRoom:
		e.byte(typeNoRoom)
		e.bytes([]byte(m.Joiner))
		e.uint(uint64(m.Offer))
	case Leaving:
		e.byte(typeLeaving)
	case Gone:
		e.byte(typeGone)
	case Fresh:
		e.byte(typeFresh)
	case Beat:
		e.byte(typeBeat)
		e.uint(m.Stamp)
		e.delay(m.Delay)
	case HandUp:
		e.byte(typeHandUp)
		e.uint(uint64(m.Hops))
		e.uint(uint64(m.Deepest))
		e.offer(m.Offer)
	case Reply:
		e.byte(typeReply)
		e.bytes([]byte(m.Joiner))
		e.uint(uint64(m.Offer))
		e.bytes(m.Raw)
	case Stand:
		e.byte(typeStand)
		e.bytes([]byte(m.Parent))
	case Move:
		e.byte(typeMove)
	}
	return e
}

// Unmarshal decodes what Marshal made. It never panics, whatever the bytes. Bytes
// after the body are ignored, so that later versions may add to it.
func Unmarshal(b []byte) (StreamID, Message, error) {
	var s StreamID
	if len(b) > MaxMessage {
		return s, nil, fmt.Errorf("tree message of %d bytes: more than %d", len(b), MaxMessage)
	}
	if len(b) < len(s)+1 {
		return s, nil, fmt.Errorf("tree message of %d bytes: too short", len(b))
	}
	copy(s[:], b)
	kind := b[len(s)]
	d := decoder{b: b[len(s)+1:]}
	var m Message
	switch kind {
	case typePath:
		p := Path{Stamp: d.uint(1<<64 - 1), Delay: d.delay(), Slots: d.int(maxSlots)}
		if n := d.int(maxPath); n > 0 {
			p.Hops = make([]Hop, n)
		}
		for i := range p.Hops {
			p.Hops[i] = Hop{Node: d.id(), Contact: d.bytes(maxContact)}
		}
		p.Reach, p.Up = d.standing()
		m = p
	case typeSum:
		m = d.sum()
	case typeHeadDown:
		m = HeadDown{
			Stamp: d.uint(1<<64 - 1),
			Delay: d.delay(),
			Head: Head{
				Stream:  s,
				Seq:     d.uint(1<<64 - 1),
				Entries: d.entries(maxEntries),
				Layers:  d.counts(),
				Free:    uint32(d.uint(maxCount - 1)),
				Open:    d.counts(),
			},
		}
	case typeHandDown:
		m = HandDown{
			Num:     d.uint(1<<64 - 1),
			Hops:    d.int(maxPath),
			Deepest: d.int(maxPath),
			Offer:   d.offer(),
		}
	case typeNoRoom:
		m = NoRoom{Joiner: d.id(), Offer: OfferID(d.uint(1<<64 - 1))}
	case typeLeaving:
		m = Leaving{}
	case typeGone:
		m = Gone{}
	case typeFresh:
		m = Fresh{}
	case typeBeat:
		m = Beat{Stamp: d.uint(1<<64 - 1), Delay: d.delay()}
	case typeHandUp:
		m = HandUp{Hops: d.int(maxPath), Deepest: d.int(maxPath), Offer: d.offer()}
	case typeReply:
		m = Reply{Joiner: d.id(), Offer: OfferID(d.uint(1<<64 - 1)), Raw: d.bytes(maxReply)}
	case typeStand:
		m = Stand{Parent: d.id()}
	case typeMove:
		m = Move{}
	default:
		return s, nil, fmt.Errorf("tree message of unknown type %d", kind)
	}
	if d.err != nil {
		return s, nil, fmt.Errorf("tree message of type %d: %w", kind, d.err)
	}
	return s, m, nil
}
