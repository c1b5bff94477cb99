package home

import (
	"slices"
	"testing"
)

func TestPeersAreRemembered(t *testing.T) {
	h := open(t)
	if got, err := h.Peers(); err != nil || len(got) != 0 {
		t.Errorf("a new home remembers %v, %v", got, err)
	}
	for _, list := range [][]string{{"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/a", "/ip4/192.0.2.2/udp/4001/quic-v1/p2p/b"}, {"/dns4/x/udp/1/quic-v1/p2p/c"}} {
		if err := h.SavePeers(list); err != nil {
			t.Fatal(err)
		}
		if got, err := h.Peers(); err != nil || !slices.Equal(got, list) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if m := mode(t, h.path("peers")); m != 0o600 {
		t.Errorf("mode %o", m)
	}
}
