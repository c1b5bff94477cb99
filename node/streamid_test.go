package node

import (
	"encoding/hex"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/stream"
)

func TestStreamIDsNameTheirSpeaker(t *testing.T) {
	alice, mallory := peer.ID("alice"), peer.ID("mallory")
	id := stream.ID{1, 2, 3, 4, 5, 6, 7, 8}
	bindStreamID(&id, alice)
	// docs/protocol.md, "Stream IDs".
	if got, want := hex.EncodeToString(id[:]), "01020304050607085ac060ae8fe75328"; got != want {
		t.Errorf("alice's stream is %s, want %s", got, want)
	}
	if !belongsTo(id, alice) {
		t.Error("a speaker's own stream is refused")
	}
	if belongsTo(id, mallory) {
		t.Error("another member may announce the stream as its own")
	}
	id[0]++
	if belongsTo(id, alice) {
		t.Error("an ID with other random bytes passes")
	}
}
