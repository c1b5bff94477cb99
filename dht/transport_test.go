package dht

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// TestSidedoors: the TCP port beside each QUIC one is tried, and no other.
func TestSidedoors(t *testing.T) {
	for given, more := range map[string]string{
		"/ip4/203.0.113.1/udp/4001/quic-v1":       "/ip4/203.0.113.1/tcp/4001",
		"/dns4/boot.example/udp/4001/quic-v1":     "/dns4/boot.example/tcp/4001",
		"/ip6/2001:db8::1/udp/4001/quic-v1":       "/ip6/2001:db8::1/tcp/4001",
		"/ip4/203.0.113.1/tcp/4001":               "",
		"/dns4/boot.example/tcp/443/tls/ws":       "",
		"/ip4/203.0.113.1/udp/4001/webrtc-direct": "",
	} {
		want := []ma.Multiaddr{ma.StringCast(given)}
		if more != "" {
			want = append(want, ma.StringCast(more))
		}
		got := sidedoors(peer.AddrInfo{Addrs: want[:1]}).Addrs
		if len(got) != len(want) || !got[len(got)-1].Equal(want[len(want)-1]) {
			t.Errorf("%s: %v", given, got)
		}
		if again := sidedoors(peer.AddrInfo{Addrs: got}).Addrs; len(again) != len(got) {
			t.Errorf("%s: again %v", given, again)
		}
	}
}
