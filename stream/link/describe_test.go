package link

import (
	"net/netip"
	"slices"
	"testing"
)

// A port that a router has opened is told first, once, and only of addresses that packets
// from there can come to.
func TestCandidatesOfOpenPorts(t *testing.T) {
	const local = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n" +
		"a=candidate:1 1 udp 1 192.168.1.2 50000 typ host\r\n" +
		"a=candidate:2 1 udp 1 127.0.0.1 50001 typ host\r\n" +
		"a=candidate:3 1 udp 1 2001:db8::1 50002 typ host\r\n" +
		"a=candidate:4 1 udp 1 192.168.1.2 50003 typ host\r\n" +
		"a=candidate:5 1 udp 1 203.0.113.9 60000 typ srflx raddr 0.0.0.0 rport 50004\r\n"
	at := netip.MustParseAddrPort
	open := map[uint16]netip.AddrPort{}
	for port := uint16(50000); port < 50003; port++ {
		open[port] = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), port+10000)
	}
	got, err := candidatesOf(local, func(port uint16) netip.AddrPort { return open[port] })
	if err != nil {
		t.Fatal(err)
	}
	want := []Candidate{
		{at("203.0.113.9:60000"), true}, // also what STUN saw
		{at("192.168.1.2:50000"), false}, {at("192.168.1.2:50003"), false},
		{at("[2001:db8::1]:50002"), false}, {at("127.0.0.1:50001"), false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("candidates %v\nwant %v", got, want)
	}
}
