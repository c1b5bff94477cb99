package node

import (
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

// A ticket is for other machines: of a speaker's own addresses those that they reach come first.
func TestForOthers(t *testing.T) {
	all := func(s ...string) (list []ma.Multiaddr) {
		for _, a := range s {
			list = append(list, ma.StringCast(a))
		}
		return list
	}
	const own, own6, lan, web = "/ip4/127.0.0.1/udp/1/quic-v1", "/ip6/::1/udp/1/quic-v1", "/ip4/192.168.1.2/udp/1/quic-v1", "/dns4/example.org/tcp/1"
	for _, c := range []struct{ have, want []ma.Multiaddr }{
		{all(own, lan, own6, web), all(lan, web, own, own6)},
		{all(own, own6), all(own, own6)},
		{nil, nil},
	} {
		got := forOthers(c.have)
		if len(got) != len(c.want) {
			t.Errorf("of %v: %v", c.have, got)
			continue
		}
		for i := range got {
			if !got[i].Equal(c.want[i]) {
				t.Errorf("of %v: %v", c.have, got)
			}
		}
	}
}
