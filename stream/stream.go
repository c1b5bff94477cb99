// Package stream moves one speaker's media: it numbers and seals packets at the
// speaker, keeps them in a history, hands them to cursors (children, players,
// recorders) and opens them for local playback. It knows no rooms: it is given
// keys and bytes. Links between nodes are in stream/link, inputs in
// stream/ingest, outputs in stream/playback.
package stream

import "time"

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
	// ManifestTrack carries the speaker's signed manifests of all other tracks.
	ManifestTrack Track = 15
	// MaxTracks bounds the tracks of a stream, catalog and manifest included.
	MaxTracks = 16
)

// MaxPayload keeps a hop's packet within 1,280 bytes: IPv6 40 + UDP 8 + RTP 12 +
// origin header 14 + payload + seal 16 + SRTP tag 16 ≤ 1,280 leaves 1,174.
const MaxPayload = 1174

// Packet is one numbered, sealed packet. Wire (origin header, then sealed payload)
// is never changed once made and is shared by all who hold the packet.
type Packet struct {
	Header
	Wire []byte
	At   time.Time // of arrival here, or of sealing
	Via  uint32    // whom it came from, in the words of who puts it; 0: not said
}

// Range is a run of numbers [From, To) of one track.
type Range struct {
	Track    Track
	From, To uint64
}

// Marks holds a number for each track: the one after the newest. 0 means none.
type Marks [MaxTracks]uint64
