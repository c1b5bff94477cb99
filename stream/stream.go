// Package stream moves one speaker's media: it numbers and seals packets at the
// speaker, keeps them in a history, hands them to cursors (children, players,
// recorders) and opens them for local playback. It knows no rooms: it is given
// keys and bytes. Links between nodes are in stream/link, inputs in
// stream/ingest, outputs in stream/playback.
package stream

import (
	"context"
	"time"
)

// ID is the 128-bit random name of a stream, new at each start of a speaker.
type ID [16]byte

// Tag is the part of the ID that every packet carries: its first 12 bits. A
// speaker draws IDs until the tag differs from those of the room's live streams.
func (id ID) Tag() uint16 { return uint16(id[0])<<4 | uint16(id[1])>>4 }

// Track is a track's number within a stream, 0–15.
type Track uint8

const (
	// CatalogTrack carries the list of tracks, sealed like media: at the start, on
	// change, and once a second.
	CatalogTrack Track = 0
	// ManifestTrack is reserved for signed manifests.
	ManifestTrack Track = 15
)

// HeaderSize is the length of the origin header in front of each sealed payload.
//
//	0      kind (2 bits: 0 media, 1 hop message) | flags (6 bits: 0x01 key start, 0x02 marker)
//	1      epoch, low byte
//	2–3    stream tag (12 bits) | track (4 bits)
//	4–9    number, 48 bits, big-endian (the 64-bit number; its upper 16 bits are zero)
//	10–13  RTP time, 32 bits
const HeaderSize = 14

// Header is the origin header: written by the speaker, never changed on the way.
type Header struct {
	KeyStart bool // first packet of a video group (keyframe with its parameter sets)
	Marker   bool // last packet of a frame (the RTP marker bit)
	Epoch    uint8
	Tag      uint16
	Track    Track
	Number   uint64
	Time     uint32
}

// Append adds the 14 bytes of h to b.
func (h Header) Append(b []byte) []byte { panic("skeleton") }

// ParseHeader reads the origin header of a media packet. It never panics.
func ParseHeader(b []byte) (Header, error) { panic("skeleton") }

// Packet is one numbered, sealed packet. Wire (origin header, then sealed payload)
// is never changed once made and is shared by all who hold the packet.
type Packet struct {
	Header
	Wire []byte
	At   time.Time // of arrival here, or of sealing
}

// Sealer seals and opens payloads: AES-128-GCM, nonce = epoch (2 B) ‖ track (2 B) ‖
// number (8 B), the origin header as additional data (DESIGN 5).
type Sealer struct{}

// NewSealer takes the stream's key for one epoch.
func NewSealer(key [16]byte, epoch uint16) (*Sealer, error) { panic("skeleton") }

// Seal makes the Wire of a packet.
func (s *Sealer) Seal(h Header, payload []byte) []byte { panic("skeleton") }

// Open appends the payload of wire to dst.
func (s *Sealer) Open(dst, wire []byte) ([]byte, error) { panic("skeleton") }

// TrackInfo describes one track to players.
type TrackInfo struct {
	Track     Track
	Kind      string // "video" or "audio"
	Codec     string // "H264", "opus", … as in SDP's rtpmap
	ClockRate uint32
	Channels  uint16 // audio
	Fmtp      string // SDP format parameters, e.g. "packetization-mode=1;profile-level-id=42e01f"
}

// Catalog is the content of the catalog track.
type Catalog struct {
	Tracks []TrackInfo
	Ended  bool // the speaker says that the stream is over
}

// HistoryConfig bounds a History.
type HistoryConfig struct {
	Bytes int           // ≤ this many bytes of packets; 0 means 16 MiB
	Min   time.Duration // keep at least this much and the last group while Bytes allows; 0 means 5 s
}

// History is the ring of a stream's packets in order of arrival, indexed by track
// and number. One writer side (Put, from any goroutine), many cursors. It drops
// duplicates, counts loss and wakes cursors.
type History struct{}

func NewHistory(id ID, cfg HistoryConfig) *History { panic("skeleton") }

func (h *History) ID() ID { panic("skeleton") }

// Put adds p and reports whether it was new. repaired marks packets that came by
// want or resume. Numbers absurdly far from the newest are refused.
func (h *History) Put(p Packet, repaired bool) bool { panic("skeleton") }

// Get finds a packet for repair.
func (h *History) Get(t Track, number uint64) (Packet, bool) { panic("skeleton") }

// Range is a run of numbers [From, To) of one track.
type Range struct {
	Track    Track
	From, To uint64
}

// Missing lists holes older than age, at most max ranges, oldest first, none older than 2 s (those are lost).
func (h *History) Missing(now time.Time, age time.Duration, max int) []Range { panic("skeleton") }

// Resume says where this history ends: the next number per track; empty when it holds nothing.
func (h *History) Resume() map[Track]uint64 { panic("skeleton") }

// CursorAt returns a reader that begins after what resume says is held, or, when
// resume is empty or too old, at the newest catalog and the last video group
// (audio begins live).
func (h *History) CursorAt(resume map[Track]uint64) *Cursor { panic("skeleton") }

// End closes the history: cursors drain, then report io.EOF.
func (h *History) End() { panic("skeleton") }

// Cursor reads a History at its own pace. One goroutine uses it.
type Cursor struct{}

// Next waits until there is at least one packet, fills buf and says how many. A
// cursor that fell out of the ring goes on at the newest key start; what it missed
// is counted in Skipped. io.EOF after End.
func (c *Cursor) Next(ctx context.Context, buf []Packet) (int, error) { panic("skeleton") }

// Skipped counts packets this cursor never got.
func (c *Cursor) Skipped() uint64 { panic("skeleton") }

// TrackStats counts what has passed since the start.
type TrackStats struct {
	Track      Track
	Next       uint64 // the number after the newest
	Received   uint64 // distinct numbers
	Lost       uint64 // never came within 2 s
	Repaired   uint64
	Duplicates uint64
	Bytes      uint64
	BitrateBPS uint64 // over the last two seconds or so
}

// Stats lists the tracks seen, by number.
func (h *History) Stats() []TrackStats { panic("skeleton") }

// Publisher is the speaker's end: it numbers, seals and puts into a History.
type Publisher struct{}

// NewPublisher seals with s for stream h.ID().
func NewPublisher(h *History, s *Sealer) *Publisher { panic("skeleton") }

// SetTracks says what the tracks are; it may be called again when they change.
func (p *Publisher) SetTracks(c Catalog) error { panic("skeleton") }

// Write publishes one RTP payload (≤ MaxPayload bytes) of a track.
func (p *Publisher) Write(t Track, rtpTime uint32, marker, keyStart bool, payload []byte) error {
	panic("skeleton")
}

// Close publishes that the stream has ended and ends the history.
func (p *Publisher) Close() error { panic("skeleton") }

// MaxPayload keeps a hop's packet within 1,280 bytes: IPv6 40 + UDP 8 + RTP 12 +
// origin header 14 + payload + seal 16 + SRTP tag 16 ≤ 1,280 leaves 1,174.
const MaxPayload = 1174

// Sample is one opened packet for a player.
type Sample struct {
	Track    Track
	Number   uint64
	Time     uint32
	Marker   bool
	KeyStart bool
	Gap      bool // packets before this one were given up
	Payload  []byte
	At       time.Time
}

// PlayerConfig says how a player trades delay for completeness.
type PlayerConfig struct {
	Delay    time.Duration // playout delay: release at min(arrival − media time) + media time + Delay; 0: at once
	HoleWait time.Duration // how long to wait for a missing number; 0 means max(Delay, 200 ms)
}

// Player is a cursor that opens packets and puts them in order per track.
type Player struct{}

func NewPlayer(h *History, s *Sealer, cfg PlayerConfig) *Player { panic("skeleton") }

// Catalog waits for the first (or a newer) catalog than the one last returned.
func (p *Player) Catalog(ctx context.Context) (Catalog, error) { panic("skeleton") }

// Next waits for packets that are due, in order per track. io.EOF at the stream's end.
func (p *Player) Next(ctx context.Context) ([]Sample, error) { panic("skeleton") }

func (p *Player) Close() { panic("skeleton") }
