package node

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/stream"
)

// A node follows sixteen streams of a room; one more that is announced is ignored.
func TestTooManyStreams(t *testing.T) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := dht.New(t.Context(), dht.Config{Key: key, Libp2p: []libp2p.Option{libp2p.NoListenAddrs}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	var log bytes.Buffer
	r := &room{n: &Node{host: host}, listening: true, streams: map[stream.ID]*live{}, log: slog.New(slog.NewTextHandler(&log, nil))}
	for i := range byte(maxStreams) {
		r.streams[stream.ID{i}] = &live{}
	}
	h := dht.Head{Speaker: peer.ID("one more")}
	id := stream.ID{255}
	bindStreamID(&id, h.Speaker)
	h.Stream = id
	r.headSeen(h)
	if len(r.streams) != maxStreams || !strings.Contains(log.String(), "too many streams") {
		t.Errorf("%d streams are followed; the log says %q", len(r.streams), log.String())
	}
}
