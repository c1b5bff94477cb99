// Package dht finds: rooms, their members, who has room for a joiner, and the way
// to connect to it. It owns the libp2p host, the Kademlia DHT under /waterfall with
// its validators, and the gossipsub topics; every record is signed by its writer and
// sealed for the room. It knows no media and no tree: offers and answers carry opaque bytes.
package dht

import (
	"context"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Signal is the carrier of heads, offers and answers: both unless testing one alone.
// With Gossip the DHT only finds rooms and peers; with DHT nothing is said over gossip.
type Signal string

const (
	Both   Signal = "both"
	Gossip Signal = "gossip"
	DHT    Signal = "dht"
)

// Config for a Host.
type Config struct {
	Key       crypto.PrivKey // Ed25519
	Listen    []ma.Multiaddr // none: QUIC on any free port
	Bootstrap []peer.AddrInfo
	Volunteer bool // bootstrap node: DHT server, topic relay, wide limits
	MDNS      bool
	Signal    Signal          // "" means Both
	Libp2p    []libp2p.Option // tests: transports, resource manager, …; put after our own
	Log       *slog.Logger
}

// Host is this node's place in the DHT and in gossip.
type Host struct{}

// New starts a host. Unreachable bootstrap nodes are retried in the background; see Bootstrapped.
func New(ctx context.Context, cfg Config) (*Host, error) { panic("skeleton") }

// Bootstrapped waits until a bootstrap node is connected (at once when none is
// configured); the error says which were tried.
func (h *Host) Bootstrapped(ctx context.Context) error { panic("skeleton") }

func (h *Host) ID() peer.ID { panic("skeleton") }

// Addrs are the full addresses, ending in /p2p/ID.
func (h *Host) Addrs() []ma.Multiaddr { panic("skeleton") }

func (h *Host) Close() error { panic("skeleton") }

// Stats for the status document.
type Stats struct {
	Mode      string // "server" or "client"
	Table     int    // DHT routing table
	Connected int
	BytesIn   uint64
	BytesOut  uint64
}

func (h *Host) Stats() Stats { panic("skeleton") }

// --- rooms ---------------------------------------------------------------

// Admission says how one becomes a member.
type Admission string

const (
	Open     Admission = "open"
	Password Admission = "password"
	PGP      Admission = "pgp"
)

// RoomOptions for CreateRoom; a closed room needs issue "Closed rooms".
type RoomOptions struct {
	Name         string
	Speakers     []peer.ID
	AnyoneSpeaks bool
	Epoch        uint16 // 0 means 1
	Now          time.Time
}

// Room is an opened room: the signed record and the keys that follow from it.
type Room struct {
	ID           peer.ID
	Name         string
	Admission    Admission
	Epoch        uint16
	Speakers     []peer.ID
	AnyoneSpeaks bool
	Record       []byte // signed by the room key; any member may put it again
	// unexported: seq, expiry, the epoch's secret
}

// CreateRoom makes a room owned by key, signed until 30 days from now.
func CreateRoom(key crypto.PrivKey, o RoomOptions) (*Room, error) { panic("skeleton") }

// OpenRoom checks record against id and derives the room's keys.
func OpenRoom(id peer.ID, record []byte) (*Room, error) { panic("skeleton") }

// MaySpeak says whether p may publish in the room.
func (r *Room) MaySpeak(p peer.ID) bool { panic("skeleton") }

// MediaKey is HKDF(epoch secret, stream ID): the seal of a stream.
func (r *Room) MediaKey(stream [16]byte) [16]byte { panic("skeleton") }

// ErrNoRoom: the DHT answered, and holds no such room.
// ErrNotReached: nobody in the DHT could be asked.
var ErrNoRoom, ErrNotReached error

// FetchRoom gets a room's record from the DHT and opens it.
func (h *Host) FetchRoom(ctx context.Context, id peer.ID) (*Room, error) { panic("skeleton") }

// PutRoom stores the record in the DHT.
func (h *Host) PutRoom(ctx context.Context, r *Room) error { panic("skeleton") }

// Member is one line of a room's membership as the DHT lists it.
type Member struct {
	Peer  peer.ID
	Name  string
	Since time.Time
	Roles []string // "speaker", "listener"
}

// Members lists a room from the DHT.
func (h *Host) Members(ctx context.Context, r *Room) ([]Member, error) { panic("skeleton") }

// --- a node's part in a room -----------------------------------------------

// Head is a speaker's digest of where there is room, for one stream (DESIGN 3).
type Head struct {
	Stream  [16]byte
	Speaker peer.ID // the writer
	Seq     uint64
	Entries []HeadEntry // ≤ 16
	Layers  []uint32
	Free    uint32
	Ended   bool // the speaker says that the stream is over
}

// HeadEntry is a node that takes offers.
type HeadEntry struct {
	Peer    peer.ID
	Box     [32]byte // X25519 key that offers are sealed to
	Layer   uint8
	Opening uint8
	Free    uint32
}

// Offer is a joiner's wish, as its receiver sees it.
type Offer struct {
	Stream [16]byte
	Joiner peer.ID
	Box    [32]byte // answers are sealed to this
	ID     uint64   // chosen by the joiner; the answer repeats it
	Body   []byte   // opaque (≤ 230 B to keep the sealed record ≤ 450 B)
	Via    Signal   // carrier that brought it first; "" if handed down
	// unexported: the signed envelope and the content key, for Forward
}

// Forward is what may be handed down the tree: the signed envelope and the key to
// its content, so that every node on the way can check who wrote it.
func (o Offer) Forward() []byte { panic("skeleton") }

// Answer is what an offer led to.
type Answer struct {
	Stream [16]byte
	From   peer.ID // the writer
	ID     uint64  // of the offer
	Body   []byte  // opaque
	Via    Signal
}

// Presence is this node's part in one room: its topics, its inbox in the DHT, its
// member record. One goroutine calls its methods; channels deliver what comes.
type Presence struct{}

// Enter begins to take part in room r: publishes the member record and keeps it fresh.
func (h *Host) Enter(r *Room, m Member) (*Presence, error) { panic("skeleton") }

// Box is this node's X25519 key for this run, what goes into heads as contact.
func (p *Presence) Box() [32]byte { panic("skeleton") }

// Watch says what to listen for: heads (a node without a parent), offers per stream
// (the speaker and head entries). Answers are listened for while an offer is out.
func (p *Presence) Watch(heads bool, offers [][16]byte) { panic("skeleton") }

// PublishHead publishes a head of our own stream: by gossip now, in the DHT every
// 10 s and when its entries changed. Heads carry the epoch's seal and our signature.
func (p *Presence) PublishHead(h Head) { panic("skeleton") }

// SendOffer seals body to entry and publishes it by both carriers; the answer comes on Answers.
func (p *Presence) SendOffer(stream [16]byte, to peer.ID, box [32]byte, id uint64, body []byte) error {
	panic("skeleton")
}

// SendAnswer answers an offer by both carriers.
func (p *Presence) SendAnswer(o Offer, body []byte) error { panic("skeleton") }

// ParseForwarded checks and opens what Forward gave to a node above.
func (p *Presence) ParseForwarded(b []byte) (Offer, error) { panic("skeleton") }

// Heads, Offers, Answers: newest first come, checked and opened; duplicates dropped.
func (p *Presence) Heads() <-chan Head     { panic("skeleton") }
func (p *Presence) Offers() <-chan Offer   { panic("skeleton") }
func (p *Presence) Answers() <-chan Answer { panic("skeleton") }

// Leave ends it and waits for its goroutines.
func (p *Presence) Leave() { panic("skeleton") }

// --- tickets -----------------------------------------------------------------

// Ticket is the text that a person shares: waterfall:<room id>?name=…&b=<multiaddr>…
type Ticket struct {
	Room      peer.ID
	Name      string
	Bootstrap []ma.Multiaddr // ≤ 4
}

func (t Ticket) String() string { panic("skeleton") }

// ParseTicket reads a ticket or a bare room ID; errors are one line for a person, with a hint.
func ParseTicket(s string) (Ticket, error) { panic("skeleton") }
