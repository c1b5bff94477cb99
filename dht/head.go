package dht

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	headLife       = 30 * time.Second
	maxHeadEntries = 16
	maxHeadLayers  = 64
	maxHeads       = 8 // streams of one speaker in one record
)

// Head is a speaker's digest of where there is room, for one stream (DESIGN 3).
type Head struct {
	Stream  [16]byte
	Speaker peer.ID // the writer
	Seq     uint64
	Entries []HeadEntry // ≤ 16
	Layers  []uint32    // members by layer, ≤ 64
	Free    uint32
	Ended   bool // the speaker says that the stream is over

	Said uint64 // Unix ms by the speaker's clock, of a head that was heard: the later of two of one speaker is true
}

// HeadEntry is a node that takes offers.
type HeadEntry struct {
	Peer    peer.ID
	Box     [32]byte // X25519 key that offers are sealed to
	Layer   uint8
	Opening uint8
	Free    uint32
}

// encodeHeads is the sealed part of a head record: count (1 B), then for each head
// stream (16 B), seq (8 B), flags (1 B: 1 ended), free (4 B), number of layers (1 B),
// 4 B a layer, number of entries (1 B), 70 B an entry: peer's public key (32 B),
// box (32 B), layer (1 B), opening (1 B), free (4 B).
//
// Gossip carries one head a record; the DHT all of a speaker's in the room, with as
// many entries each as fit.
func encodeHeads(heads ...Head) []byte {
	heads = heads[:min(len(heads), maxHeads)]
	entries := maxHeadEntries
	if n := len(heads); n > 2 {
		entries = 4 // 8 heads: 8 × (31 + 16·4 + 4·70) = 3,000 B
	}
	b := []byte{byte(len(heads))}
	for _, h := range heads {
		layers := h.Layers[:min(len(h.Layers), maxHeadLayers)]
		if len(heads) > 2 {
			layers = layers[:min(len(layers), 16)]
		}
		b = append(b, h.Stream[:]...)
		b = binary.BigEndian.AppendUint64(b, h.Seq)
		var flags byte
		if h.Ended {
			flags |= 1
		}
		b = append(b, flags)
		b = binary.BigEndian.AppendUint32(b, h.Free)
		b = append(b, byte(len(layers)))
		for _, n := range layers {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		at := len(b)
		b = append(b, 0)
		for _, e := range h.Entries {
			k, ok := keyOf(e.Peer)
			if !ok || int(b[at]) == entries {
				continue
			}
			b[at]++
			b = append(append(append(b, k[:]...), e.Box[:]...), e.Layer, e.Opening)
			b = binary.BigEndian.AppendUint32(b, e.Free)
		}
	}
	return b
}

func decodeHeads(speaker peer.ID, b []byte) ([]Head, error) {
	r := reader{b: b}
	n := int(r.u8())
	if n > maxHeads {
		return nil, errors.New("too many heads in one record")
	}
	heads := make([]Head, 0, n)
	for ; n > 0; n-- {
		h := Head{Speaker: speaker, Stream: r.stream(), Seq: r.u64(), Ended: r.u8()&1 != 0, Free: r.u32()}
		layers := int(r.u8())
		if layers > maxHeadLayers {
			return nil, errors.New("too many layers in a head")
		}
		for ; layers > 0; layers-- {
			h.Layers = append(h.Layers, r.u32())
		}
		entries := int(r.u8())
		if entries > maxHeadEntries {
			return nil, errors.New("too many entries in a head")
		}
		for ; entries > 0; entries-- {
			h.Entries = append(h.Entries, HeadEntry{Peer: r.key().ID(), Box: r.box(), Layer: r.u8(), Opening: r.u8(), Free: r.u32()})
		}
		heads = append(heads, h)
	}
	if r.err != nil {
		return nil, r.err
	}
	return heads, nil
}
