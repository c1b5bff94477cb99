package node

import (
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/tree"
)

// treeHead and dhtHead are the one place where the two packages' heads meet.

func treeHead(h dht.Head) tree.Head {
	t := tree.Head{Stream: h.Stream, Seq: h.Seq, Layers: h.Layers, Free: h.Free}
	for _, e := range h.Entries {
		t.Entries = append(t.Entries, tree.Entry{
			Node: tree.NodeID(e.Peer), Contact: e.Box[:], Layer: int(e.Layer), Opening: int(e.Opening), Free: int(e.Free),
		})
	}
	return t
}

func dhtHead(t tree.Head, speaker peer.ID, ended bool) dht.Head {
	h := dht.Head{Stream: t.Stream, Speaker: speaker, Seq: t.Seq, Layers: t.Layers, Free: t.Free, Ended: ended}
	for _, e := range t.Entries {
		if len(e.Contact) != 32 {
			continue
		}
		h.Entries = append(h.Entries, dht.HeadEntry{
			Peer: peer.ID(e.Node), Box: [32]byte(e.Contact), Layer: clampByte(e.Layer), Opening: clampByte(e.Opening), Free: uint32(max(0, e.Free)),
		})
	}
	return h
}

func clampByte(i int) uint8 { return uint8(max(0, min(i, 255))) }
