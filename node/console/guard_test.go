package console

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// FuzzGuard: whatever Host and Origin say, a console on loopback answers under names of this
// machine only, and to pages from there.
func FuzzGuard(f *testing.F) {
	f.Add("127.0.0.1:7480", "http://127.0.0.1:7480")
	f.Add("localhost:7480", "null")
	f.Add("[::1]:7480", "https://evil.example")
	f.Add("evil.example:7480", "http://evil.example:7480")
	f.Add("[::1%lo]:7480", "http://user@[::1%25lo]:7480")
	g := guard{addr: netip.MustParseAddrPort("127.0.0.1:7480")}
	here := func(host string) bool {
		name, port, err := net.SplitHostPort(host)
		ip, _ := netip.ParseAddr(name)
		return err == nil && port == "7480" && (ip.IsLoopback() || strings.EqualFold(name, "localhost"))
	}
	f.Fuzz(func(t *testing.T, host, origin string) {
		if !g.ownHost(host) {
			return
		}
		if !here(host) {
			t.Errorf("host %q is taken for ours", host)
		}
		if u, err := url.Parse(origin); ownOrigin(origin, host) && (err != nil || !here(u.Host)) {
			t.Errorf("origin %q is taken for ours", origin)
		}
	})
}
