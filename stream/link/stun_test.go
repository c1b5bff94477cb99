package link

import (
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

func FuzzReadBinding(f *testing.F) {
	m, err := stun.Build(stun.TransactionID, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(1, 2, 3, 4), Port: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, _, err := readBinding(b); err == nil && !at.IsValid() {
			t.Errorf("no address in %x", b)
		}
	})
}

func TestKindOf(t *testing.T) {
	at := func(s string) Mapping { return Mapping{Mapped: netip.MustParseAddrPort(s)} }
	local := []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	for _, tc := range []struct {
		name string
		seen []Mapping
		want NAT
	}{
		{"nobody answers", nil, UnknownNAT},
		{"one answer", []Mapping{at("198.51.100.1:1")}, UnknownNAT},
		{"our own address", []Mapping{at("192.0.2.7:1")}, NoNAT},
		{"the same to all", []Mapping{at("198.51.100.1:1"), at("198.51.100.1:1")}, ConeNAT},
		{"another port", []Mapping{at("198.51.100.1:1"), at("198.51.100.1:2")}, SymmetricNAT},
		{"another address", []Mapping{at("198.51.100.1:1"), at("198.51.100.2:1")}, SymmetricNAT},
	} {
		if got := KindOf(tc.seen, local); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
