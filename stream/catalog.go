package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

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

// ErrCatalog wraps what is wrong with a catalog.
var ErrCatalog = errors.New("bad catalog")

const (
	catalogVersion = 1
	catalogEnded   = 0x01
	kindVideo      = 1
	kindAudio      = 2
	maxCodec       = 32
	maxFmtp        = 700 // parameter sets in base64 fit; one packet holds the catalog
)

// Append encodes c (docs/protocol-link.md, "Catalog") after checking it: what does
// not pass ParseCatalog is not sent.
//
//	0  version, 1
//	1  flags: 0x01 ended
//	2  number of tracks, then for each:
//	   track (1) kind (1: 1 video, 2 audio) clock rate (4) channels (2)
//	   length (1) codec, length (2) format parameters
func (c Catalog) Append(b []byte) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	start := len(b)
	var flags byte
	if c.Ended {
		flags |= catalogEnded
	}
	b = append(b, catalogVersion, flags, byte(len(c.Tracks)))
	for _, t := range c.Tracks {
		kind := byte(kindVideo)
		if t.Kind == "audio" {
			kind = kindAudio
		}
		b = append(b, byte(t.Track), kind)
		b = binary.BigEndian.AppendUint32(b, t.ClockRate)
		b = binary.BigEndian.AppendUint16(b, t.Channels)
		b = append(append(b, byte(len(t.Codec))), t.Codec...)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(t.Fmtp))), t.Fmtp...)
	}
	if n := len(b) - start; n > MaxPayload {
		return nil, fmt.Errorf("%w: %d bytes, at most %d fit a packet", ErrCatalog, n, MaxPayload)
	}
	return b, nil
}

// ParseCatalog decodes a catalog. Bounded; never panics; bytes after it are ignored.
func ParseCatalog(b []byte) (Catalog, error) {
	short := fmt.Errorf("%w: cut short", ErrCatalog)
	if len(b) < 3 {
		return Catalog{}, short
	}
	if b[0] != catalogVersion {
		return Catalog{}, fmt.Errorf("%w: version %d", ErrCatalog, b[0])
	}
	c := Catalog{Ended: b[1]&catalogEnded != 0}
	count := int(b[2])
	b = b[3:]
	if count > MaxTracks {
		return Catalog{}, fmt.Errorf("%w: %d tracks", ErrCatalog, count)
	}
	for range count {
		if len(b) < 9 {
			return Catalog{}, short
		}
		t := TrackInfo{
			Track:     Track(b[0]),
			ClockRate: binary.BigEndian.Uint32(b[2:]),
			Channels:  binary.BigEndian.Uint16(b[6:]),
		}
		switch b[1] {
		case kindVideo:
			t.Kind = "video"
		case kindAudio:
			t.Kind = "audio"
		}
		n := int(b[8])
		if b = b[9:]; len(b) < n+2 {
			return Catalog{}, short
		}
		t.Codec, b = string(b[:n]), b[n:]
		n = int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < n {
			return Catalog{}, short
		}
		t.Fmtp, b = string(b[:n]), b[n:]
		c.Tracks = append(c.Tracks, t)
	}
	return c, c.check()
}

// check refuses what players could not use or what could break out of the SDP that
// they write the strings into.
func (c Catalog) check() error {
	var seen [MaxTracks]bool
	for _, t := range c.Tracks {
		switch {
		case t.Track == CatalogTrack || t.Track >= ManifestTrack:
			return fmt.Errorf("%w: track %d is outside 1–14", ErrCatalog, t.Track)
		case seen[t.Track]:
			return fmt.Errorf("%w: track %d twice", ErrCatalog, t.Track)
		case t.Kind != "video" && t.Kind != "audio":
			return fmt.Errorf("%w: track %d is neither video nor audio", ErrCatalog, t.Track)
		case t.ClockRate == 0:
			return fmt.Errorf("%w: track %d has no clock rate", ErrCatalog, t.Track)
		case t.Codec == "" || len(t.Codec) > maxCodec || !plain(t.Codec):
			return fmt.Errorf("%w: track %d has no usable codec name", ErrCatalog, t.Track)
		case len(t.Fmtp) > maxFmtp || !plain(t.Fmtp):
			return fmt.Errorf("%w: format parameters of track %d", ErrCatalog, t.Track)
		}
		seen[t.Track] = true
	}
	return nil
}

// plain reports whether s is printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// manifestEvery is how often such a stream is signed.
func (c Catalog) manifestEvery() time.Duration {
	for _, t := range c.Tracks {
		if t.Kind == "video" {
			return manifestEvery
		}
	}
	return manifestEveryAudio
}
