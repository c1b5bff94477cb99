package dht

import (
	"slices"
	"strings"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

func TestTicket(t *testing.T) {
	room, boot := newActor("room").pub.ID(), newActor("boot").pub.ID()
	addr := ma.StringCast("/ip4/192.0.2.1/udp/4001/quic-v1/p2p/" + boot.String())
	full := Ticket{Room: room, Name: "Tom & Zoë's 100%", Bootstrap: []ma.Multiaddr{addr, addr}}
	for _, want := range []Ticket{{Room: room}, {Room: room, Name: "x"}, {Room: room, Bootstrap: full.Bootstrap}, full} {
		got, err := ParseTicket(" " + want.String() + "\n")
		if err != nil || got.Room != want.Room || got.Name != want.Name || !slices.EqualFunc(got.Bootstrap, want.Bootstrap, ma.Multiaddr.Equal) {
			t.Errorf("%s is read as %+v, %v", want, got, err)
		}
		if strings.ContainsAny(want.String(), " '\"") {
			t.Errorf("%s is awkward to paste into a shell", want)
		}
	}
	if got, err := ParseTicket(room.String()); err != nil || got.Room != room {
		t.Errorf("a bare room ID is read as %+v, %v", got, err)
	}
	for name, s := range map[string]string{
		"empty":             "",
		"wrong scheme":      "https://example.org/" + room.String(),
		"no ID":             "waterfall:",
		"junk ID":           "waterfall:hello",
		"cut ID":            "waterfall:" + room.String()[:30],
		"RSA ID":            "waterfall:QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
		"an address":        addr.String(),
		"bad escape":        "waterfall:" + room.String() + "?name=%zz",
		"long name":         "waterfall:" + room.String() + "?name=" + strings.Repeat("x", 65),
		"bad address":       "waterfall:" + room.String() + "?b=192.0.2.1:4001",
		"address, no peer":  "waterfall:" + room.String() + "?b=/ip4/192.0.2.1/udp/4001/quic-v1",
		"peer, no address":  "waterfall:" + room.String() + "?b=/p2p/" + boot.String(),
		"RSA bootstrap":     "waterfall:" + room.String() + "?b=/ip4/192.0.2.1/udp/1/quic-v1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
		"a book":            strings.Repeat("x", 5000),
		"control character": "waterfall:\x00\n" + room.String(),
	} {
		_, err := ParseTicket(s)
		if err == nil {
			t.Errorf("%s is accepted", name)
			continue
		}
		if e := err.Error(); strings.Contains(e, "\n") || !strings.Contains(e, "(hint: ") || len(e) > 300 {
			t.Errorf("%s: not a line for a person: %q", name, e)
		}
	}
}

func FuzzTicket(f *testing.F) {
	f.Add(Ticket{Room: newActor("room").pub.ID(), Name: "n", Bootstrap: []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.1/udp/1/quic-v1/p2p/" + newActor("b").pub.ID().String())}}.String())
	f.Add("waterfall:x?b=/ip4&name=%00")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTicket(s)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("an error of several lines: %q", err)
			}
			return
		}
		again, err := ParseTicket(got.String())
		if err != nil || again.String() != got.String() {
			t.Fatalf("%s does not survive: %s, %v", got, again, err)
		}
	})
}
