// Package tree decides who feeds whom: the overlay that carries one stream
// from its speaker (the root, layer 0) to every listener, layer by layer.
//
// It owns one state machine per node and stream, and does no I/O: time and
// events go in, actions come out. There is no clock, no goroutine and no global
// randomness in here, so the same inputs give the same actions, byte for byte.
package tree

import "time"

// NodeID names a node: the raw bytes of its libp2p peer ID.
type NodeID string

// StreamID is the 128-bit random name that a speaker gives a stream at each start.
type StreamID [16]byte

// OfferID names one offer of one joiner; chosen by the joiner's Peer.
type OfferID uint64

// DefaultSlots is the fan-out of the original design.
const DefaultSlots = 4

// Config describes this node's part in one stream's tree.
type Config struct {
	Self    NodeID // 1 to 64 bytes
	Stream  StreamID
	Root    bool   // this node is the speaker
	Slots   int    // children at most; 0 means DefaultSlots, negative means none
	Contact []byte // opaque, ≤ 64 bytes: what a joiner needs to seal an offer to this node; ends up in heads
	Seed    uint64 // for jitter and for the choice among equals
	Reach   Reach  // who can link with this node; see SetReach

	// AnswerWait is how long the answer to an offer may take before the next entry is
	// asked; 0 means 1 s. By the DHT alone it takes longer.
	AnswerWait time.Duration
}

// Entry is a node near the top with room at or below it, as the head lists it.
type Entry struct {
	Node    NodeID
	Contact []byte
	Layer   int
	Opening int // layer a joiner who offers here would stand in
	Free    int // free slots in its subtree, itself included
}

// Head is the speaker's digest of where there is room (DESIGN 3).
type Head struct {
	Stream  StreamID
	Seq     uint64
	Entries []Entry  // ≤ 16, best first
	Layers  []uint32 // members by layer, the speaker first
	Open    []uint32 // free slots by the layer of those who have them; only down the tree
	Free    uint32   // openings in the whole tree
}

// Purpose is what an offer is for.
type Purpose uint8

const (
	ToJoin  Purpose = iota // a parent, for a newcomer or an orphan; travels by signalling
	ToMove                 // another parent, for one that has one; travels along the tree
	ToStand                // a backup; travels along the tree
	purposes
)

// Offer is a joiner's wish for a parent. Raw is what the node layer needs to
// answer it (signed and sealed; opaque here) and travels with it down the tree.
type Offer struct {
	ID      OfferID // higher means newer, for one joiner
	Joiner  NodeID
	Purpose Purpose
	Below   int    // size of the joiner's own subtree, itself included: 1 for a newcomer
	Slots   int    // children that the joiner would take, 255 at most
	Reach   Reach  // of the joiner
	Up      int    // minutes that the joiner has been here, 255 at most
	Avoid   NodeID // the parent that the joiner has or has lost: neither asked nor handed to; empty: none
	Raw     []byte // ≤ 1024 bytes
}

// Verdict is the outcome of an offer.
type Verdict uint8

const (
	Accepted   Verdict = iota + 1 // From is willing to be the parent
	Full                          // no room at or below the entry asked
	OutOfReach                    // there is room, but nobody there can link with the joiner (Reach)
)

// Event is something that happened; see the types that implement it.
type Event interface{ apply(*Peer) }

type (
	// HeadSeen is a head newer than all before, from signalling.
	HeadSeen struct{ Head Head }
	// OfferReceived is an offer from signalling (From empty; this node is a head
	// entry or the speaker).
	OfferReceived struct{ Offer Offer }
	// AnswerReceived is the answer to an offer of our own.
	AnswerReceived struct {
		Offer   OfferID
		From    NodeID
		Verdict Verdict
		Path    []NodeID // of From, root first, From last
	}
	// LinkUp says, on both sides, that the link with Peer is connected (at once after
	// AnswerReceived or Answer if the two were linked already).
	LinkUp struct{ Peer NodeID }
	// LinkDown says that the link with Peer is closed or could not be connected.
	LinkDown struct{ Peer NodeID }
	// MessageReceived is a control message of this stream from a linked node.
	MessageReceived struct {
		From    NodeID
		Message Message
	}
	// Measured is the round trip to a linked node, told from time to time.
	Measured struct {
		Peer NodeID
		RTT  time.Duration
	}
	// Flowing says that the first packet of the stream has come from Peer since
	// Attach, or since the last Silent or Starved of Peer.
	Flowing struct{ Peer NodeID }
	// Idle says that a linked child has not taken the stream for For. It is repeated while
	// it is so.
	Idle struct {
		Peer NodeID
		For  time.Duration
	}
	// Silent says that neither media nor heartbeat has come from an attached Peer for
	// For, which is longer than its link's unevenness explains. It may be repeated while
	// it is so.
	Silent struct {
		Peer NodeID
		For  time.Duration
	}
	// Starved says that an attached Peer lives, but has itself got nothing for For.
	// It must be repeated while it is so.
	Starved struct {
		Peer NodeID
		For  time.Duration
	}
	// Unwelcome says that Peer does harm over its link, which will be closed: for so long its
	// offers are not heard.
	Unwelcome struct {
		Peer NodeID
		For  time.Duration
	}
	// Poor says that the link with Peer, parent or child, is clearly worse than others.
	Poor struct{ Peer NodeID }
	// Relocated says that this node has changed its network, or has slept: for some seconds
	// links end on its own account, and whoever was at the other end may be asked again.
	Relocated struct{}
	// SetSlots changes how many children this node takes, counted as in Config.
	// Children that are too many are asked to move, and stay until they have.
	SetSlots struct{ Slots int }
	// SetReach tells what has been found out about this node's NAT.
	SetReach struct{ Reach Reach }
	// SetSpeakers names the room's other speakers, the roots of its other trees (DESIGN 4):
	// they have the first claim to layer 1. Those of before that are not named are it no more.
	SetSpeakers struct{ Nodes []NodeID }
	// Leave says that the user wants this node to go. A speaker goes at once: it tells
	// its listeners that the stream is over, and waits for that to arrive, before.
	Leave struct{}
)

// Action is something for the node layer to do; see the types that implement it.
type Action interface{ action() }

type (
	// SendOffer asks for an Offer with a fresh link description: with Via empty sealed to
	// To.Contact and sent by signalling, else sent to Via as HandUp (To is empty then).
	SendOffer struct {
		Offer   OfferID
		To      Entry
		Via     NodeID
		Purpose Purpose
		Deepest int // goes into HandUp.Deepest
		Below   int
		Slots   int
		Avoid   NodeID // goes into Offer.Avoid
		Reach   Reach  // goes into Offer.Reach
		Up      int    // goes into Offer.Up
	}
	// DropOffer gives up an offer of our own that has not led to a link.
	DropOffer struct{ Offer OfferID }
	// Answer answers another's offer: with Via empty by signalling, else as a Reply sent to
	// Via. With Accepted a link is made (or the one that is there is used).
	Answer struct {
		Offer   Offer
		Verdict Verdict
		Path    []NodeID
		Via     NodeID
	}
	// OpenAnswer is the answer to an offer of our own that has come along the tree; what
	// it says is to be told as AnswerReceived.
	OpenAnswer struct{ Raw []byte }
	// Send sends a control message over the link with To.
	Send struct {
		To      NodeID
		Message Message
	}
	// Attach takes the stream from Parent, resuming after what is already held.
	Attach struct{ Parent NodeID }
	// Detach stops taking the stream from Parent.
	Detach struct{ Parent NodeID }
	// Serve lets Child take the stream from us, now or, if we are its backup, when it asks.
	Serve struct{ Child NodeID }
	// Unserve stops that.
	Unserve struct{ Child NodeID }
	// Release says that this stream has no more use for the link with Peer, be it up or
	// in the making. What was sent before should still get out, but nothing depends on it.
	Release struct{ Peer NodeID }
	// PublishHead is for the speaker: publish by signalling (Attached nodes get it down the tree).
	PublishHead struct{ Head Head }
	// Watch says what this node must hear from signalling from now on.
	Watch struct {
		Heads  bool // no parent: needs heads
		Offers bool // speaker or head entry: must hear offers
	}
	// Left says that a Leave is complete: every child has moved, or time is up.
	Left struct{}
)

func (e HeadSeen) apply(p *Peer)        { p.headSeen(e.Head) }
func (e OfferReceived) apply(p *Peer)   { p.offerReceived(e.Offer) }
func (e AnswerReceived) apply(p *Peer)  { p.answered(e) }
func (e LinkUp) apply(p *Peer)          { p.linkUp(e.Peer) }
func (e LinkDown) apply(p *Peer)        { p.linkDown(e.Peer) }
func (e MessageReceived) apply(p *Peer) { p.message(e.From, e.Message) }
func (e Measured) apply(p *Peer)        { p.measured(e.Peer, e.RTT) }
func (e Flowing) apply(p *Peer)         { p.flowing(e.Peer) }
func (e Idle) apply(p *Peer)            { p.idle(e.Peer, e.For) }
func (e Silent) apply(p *Peer)          { p.silent(e.Peer, e.For) }
func (e Starved) apply(p *Peer)         { p.starved(e.Peer, e.For) }
func (e Unwelcome) apply(p *Peer)       { p.unwelcome(e.Peer, e.For) }
func (e Poor) apply(p *Peer)            { p.poor(e.Peer) }
func (Relocated) apply(p *Peer)         { p.relocated() }
func (e SetSlots) apply(p *Peer)        { p.setSlots(e.Slots) }
func (e SetReach) apply(p *Peer)        { p.cfg.Reach, p.dirty = e.Reach, true }
func (e SetSpeakers) apply(p *Peer)     { p.setSpeakers(e.Nodes) }
func (Leave) apply(p *Peer)             { p.leave() }

func (SendOffer) action()   {}
func (DropOffer) action()   {}
func (Answer) action()      {}
func (OpenAnswer) action()  {}
func (Send) action()        {}
func (Attach) action()      {}
func (Detach) action()      {}
func (Serve) action()       {}
func (Unserve) action()     {}
func (Release) action()     {}
func (PublishHead) action() {}
func (Watch) action()       {}
func (Left) action()        {}
