package link

import "testing"

// pion/webrtc offers no way to the DTLS keys: when a version of it moves them, links go
// on, but the slow way. This is what notices.
func TestMediaGoesPastPion(t *testing.T) {
	down, up := pair(t, newNode(t, nil), newNode(t, nil))
	if !down.path.Ready() || !up.path.Ready() {
		t.Error("the links' media is still pion's (hint: stream/internal/burst/keys.go)")
	}
}
