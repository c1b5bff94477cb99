// Package link is the hop between two nodes: one WebRTC PeerConnection a pair, one
// RTP stream each way with a private codec and AES-128-GCM SRTP, and a control data
// channel. It carries whatever streams the two share, in either role. It knows
// neither rooms nor the tree: the node layer says whom to serve and whom to take from.
package link

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/pion/transport/v4"

	"github.com/watergy/waterfall/stream"
)

// Config for an Engine.
type Config struct {
	STUN     []string // host:port; none: host candidates only. Gathering is capped at 300 ms
	PortMin  uint16   // UDP port range for links; 0: any
	PortMax  uint16
	Loopback bool          // offer loopback candidates as well
	Net      transport.Net // nil: the system's network
	Log      *slog.Logger
}

// Candidate is one address where a node may be reached.
type Candidate struct {
	Addr    netip.AddrPort
	Related bool // server reflexive, learnt by STUN
}

// Description is one side of a link in place of SDP: each side rebuilds the SDP from
// a template, so no SDP from a stranger is ever parsed.
type Description struct {
	Ufrag, Pwd  string
	Fingerprint [32]byte    // SHA-256 of the DTLS certificate
	Candidates  []Candidate // ≤ 8
}

// Append encodes d (docs/protocol.md, "Link description").
func (d Description) Append(b []byte) []byte { panic("skeleton") }

// ParseDescription decodes d and returns what follows it. Bounded; never panics.
func ParseDescription(b []byte) (Description, []byte, error) { panic("skeleton") }

// Engine makes links and owns what they share: certificate, settings, buffers.
type Engine struct{}

func NewEngine(cfg Config) (*Engine, error) { panic("skeleton") }

// Close closes every link and waits for its goroutines.
func (e *Engine) Close() error { panic("skeleton") }

// Events is where links report; one reader. The engine never drops an event: a slow
// reader makes the links' control channels wait, never their media.
func (e *Engine) Events() <-chan Event { panic("skeleton") }

// Offer gathers candidates for a new link as the offering side (the joiner). The peer
// need not be known yet: an offer may be answered by another node than the one asked.
func (e *Engine) Offer(ctx context.Context) (*Link, Description, error) { panic("skeleton") }

// Accept completes an Offer with the answer of peer.
func (l *Link) Accept(peer string, d Description) error { panic("skeleton") }

// Answer makes a link from another's offer and returns what to send back.
func (e *Engine) Answer(ctx context.Context, peer string, d Description) (*Link, Description, error) {
	panic("skeleton")
}

// Link is the connection with one node.
type Link struct{}

// Peer is the other node's ID as given to Accept or Answer ("" before).
func (l *Link) Peer() string { panic("skeleton") }

// Send queues a control message (≤ 64 KiB) on the data channel; an error means that
// the link is closed or its queue (256 messages) is full.
func (l *Link) Send(b []byte) error { panic("skeleton") }

// Serve lets the other side take the stream of h, when it asks.
func (l *Link) Serve(h *stream.History) { panic("skeleton") }

// Unserve stops that.
func (l *Link) Unserve(id stream.ID) { panic("skeleton") }

// Take asks the other side for the stream of h from where h ends, every 40 ms until it
// flows; puts what comes into h; asks for holes with want.
func (l *Link) Take(h *stream.History) { panic("skeleton") }

// Drop stops that and tells the other side.
func (l *Link) Drop(id stream.ID) { panic("skeleton") }

// Close closes the link; an Event Down follows.
func (l *Link) Close() { panic("skeleton") }

// Stats are the figures of one link; zero RTT means unknown.
type Stats struct {
	RTT                         time.Duration
	MediaIn, MediaOut           uint64 // bytes of media packets
	FeedbackIn, FeedbackOut     uint64 // heartbeats, asks, wants, RTCP, repairs
	ControlIn, ControlOut       uint64 // data channel, STUN
	Forwarded, Skipped, Repairs uint64 // packets sent as parent
}

func (l *Link) Stats() Stats { panic("skeleton") }

// StreamStats is the share of one stream in a link, as parent.
type StreamStats struct {
	Forwarded map[stream.Track]uint64
	Skipped   uint64
	MediaIn   uint64
	MediaOut  uint64
}

func (l *Link) StreamStats(id stream.ID) StreamStats { panic("skeleton") }

// EventKind says what happened on a link.
type EventKind uint8

const (
	Up      EventKind = iota + 1 // connected, control channel open
	Down                         // closed, failed, or never connected
	Control                      // Data is a control message
	Flowing                      // first packet of Stream since Take
	Silent                       // neither media nor heartbeat of Stream for For (again every 100 ms while so)
	Starved                      // the parent of Stream lives but gets nothing itself since For
)

// Event is something that happened on Link.
type Event struct {
	Kind   EventKind
	Link   *Link
	Stream stream.ID
	Data   []byte
	For    time.Duration
	Err    error
}
