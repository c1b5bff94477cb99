package main

import (
	"encoding/binary"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeSTUN answers with the address that shown makes of the asker's.
func fakeSTUN(t *testing.T, shown func(netip.AddrPort) netip.AddrPort) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxSTUN)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			at := shown(from)
			if b := stunAnswer(buf[:n], &net.UDPAddr{IP: at.Addr().AsSlice(), Port: int(at.Port())}); b != nil {
				conn.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

func TestNATKinds(t *testing.T) {
	public := netip.MustParseAddr("203.0.113.9")
	as := func(port uint16) func(netip.AddrPort) netip.AddrPort {
		return func(netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(public, port) }
	}
	itself := func(a netip.AddrPort) netip.AddrPort { return a }
	for _, c := range []struct {
		name    string
		servers []string
		kind    string
		udp     grade
		nat     grade
	}{
		{"no NAT", []string{fakeSTUN(t, itself), fakeSTUN(t, itself)}, "none", good, good},
		{"the same for all", []string{fakeSTUN(t, as(40000)), fakeSTUN(t, as(40000))}, "cone", good, good},
		{"by destination", []string{fakeSTUN(t, as(40000)), fakeSTUN(t, as(40001))}, "symmetric", good, fair},
		{"one answer only", []string{fakeSTUN(t, as(40000)), "127.0.0.1:9"}, "unknown", good, unknown},
		{"no answer", []string{"127.0.0.1:9"}, "unknown", bad, unknown},
		{"no name is known", []string{"nowhere.invalid:3478"}, "unknown", fair, unknown},
		{"nobody to ask", nil, "unknown", unknown, unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := probe4(t.Context(), c.servers)
			if p.kind() != c.kind || p.judgeUDP().Grade != c.udp || p.judgeNAT().Grade != c.nat {
				t.Errorf("%s, %+v, %+v", p.kind(), p.judgeUDP(), p.judgeNAT())
			}
			if c.kind == "none" && !p.hairpin {
				t.Error("a machine does not reach itself")
			}
			if c.nat == fair && p.judgeNAT().Advice == "" {
				t.Error("no advice")
			}
		})
	}
}

func TestRouter(t *testing.T) {
	here, shared := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("100.64.3.4")
	for _, c := range []struct {
		name, nat string
		said      routerSays
		want      grade
		says      string
		todo      string
	}{
		{"not asked", "cone", routerSays{}, unknown, "--map-ports=false", ""},
		{"no NAT", "none", routerSays{asked: true}, good, "need open no port", ""},
		{"speaks neither", "cone", routerSays{asked: true}, fair, "neither UPnP nor NAT-PMP", "forward UDP ports"},
		{"opens", "symmetric", routerSays{true, "UPnP", here}, good, "opens ports (UPnP) when asked; its address is 203.0.113.9", "--media-ports"},
		{"behind another NAT", "cone", routerSays{true, "NAT-PMP", shared}, fair, "another NAT", "the provider"},
		{"knows no address", "unknown", routerSays{true, "UPnP", netip.Addr{}}, fair, "another NAT", "the provider"},
	} {
		f := judgeRouter(c.said, c.nat)
		if f.Grade != c.want || !strings.Contains(f.Found, c.says) || !strings.Contains(f.Advice, c.todo) || (c.todo == "") != (f.Advice == "") {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

// The clock is compared as RFC 5905 says, also across the end of the era in 2036.
func TestClockOffset(t *testing.T) {
	for _, now := range []time.Time{time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), time.Date(2036, 2, 7, 6, 28, 15, 0, time.UTC)} {
		for _, off := range []time.Duration{0, -3 * time.Second, 90 * time.Minute} {
			answer := make([]byte, ntpSize)
			answer[0], answer[1] = 4<<3|ntpServer, 2
			binary.BigEndian.PutUint64(answer[24:], ntpTime(now))
			binary.BigEndian.PutUint64(answer[32:], ntpTime(now.Add(off+10*time.Millisecond)))
			binary.BigEndian.PutUint64(answer[40:], ntpTime(now.Add(off+12*time.Millisecond)))
			got, err := ntpOffset(answer, now, now.Add(22*time.Millisecond))
			if err != nil || (got-off).Abs() > time.Microsecond {
				t.Errorf("%v off at %v: %v, %v", off, now, got, err)
			}
			if _, err := ntpOffset(answer, now.Add(time.Second), now.Add(2*time.Second)); err == nil {
				t.Error("an answer to another question is taken")
			}
		}
	}
	for off, want := range map[time.Duration]grade{time.Second: good, -2 * time.Hour: fair, 48 * time.Hour: bad} {
		if got := judgeOffset(off); got.Grade != want {
			t.Errorf("%v: %+v", off, got)
		}
	}
}

func FuzzNTP(f *testing.F) {
	f.Add(make([]byte, ntpSize))
	f.Fuzz(func(t *testing.T, b []byte) { ntpOffset(b, time.Unix(1, 0), time.Unix(2, 0)) })
}

func TestBuffers(t *testing.T) {
	dir := t.TempDir()
	if got := judgeBuffers(dir); got.Grade != unknown {
		t.Errorf("nothing to read: %+v", got)
	}
	for value, want := range map[string]grade{"212992\n": fair, "8388608\n": good, "x": unknown} {
		if err := os.WriteFile(filepath.Join(dir, "rmem_max"), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := judgeBuffers(dir); got.Grade != want || want == fair && !strings.Contains(got.Advice, "sysctl") {
			t.Errorf("%q: %+v", value, got)
		}
	}
}

func TestVerdicts(t *testing.T) {
	none, three := 0, 3
	for _, c := range []struct {
		d         diagnosis
		udp, boot grade
		listen    bool
		says      string
	}{
		{diagnosis{}, bad, good, false, "UDP does not get out"},
		{diagnosis{}, good, bad, false, "no bootstrap node"},
		{diagnosis{Slots: &none}, good, good, true, "too slow to pass on"},
		{diagnosis{NAT: "symmetric"}, good, unknown, true, "to nodes that can be reached"},
		{diagnosis{NAT: "cone", Slots: &three}, good, good, true, "speak, listen and pass on; its uplink has room for 3 others"},
		{diagnosis{}, good, good, true, "can speak, listen and pass on"},
		{diagnosis{}, unknown, unknown, true, "as far as it knows"},
		{diagnosis{}, fair, unknown, true, "on its own network"},
	} {
		c.d.conclude(c.udp, c.boot)
		if c.d.Listen != c.listen || !strings.Contains(c.d.Verdict, c.says) {
			t.Errorf("%+v", c.d)
		}
	}
}

// The whole examination, on loopback: within 5 s, with the uplink measured.
func TestDoctor(t *testing.T) {
	c := testCrew(t)
	boot := ready(t, c, "bootstrap", "bootstrap")
	itself := func(a netip.AddrPort) netip.AddrPort { return a }
	start := time.Now()
	out, err := exec.Command(c.exe, "doctor", "--home", t.TempDir(), "--bootstrap", boot.address, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1",
		"--stun", fakeSTUN(t, itself), "--stun", fakeSTUN(t, itself), "--ntp", "none", "--json").Output()
	if err != nil {
		t.Fatal(err, string(out))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	var d diagnosis
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatal(err)
	}
	if !d.Listen || d.NAT != "none" || d.Uplink == nil || *d.Uplink < 1e6 || d.Slots == nil {
		t.Errorf("%s", out)
	}
	var names []string
	for _, f := range d.Checks {
		names = append(names, f.Name)
	}
	if want := []string{"udp", "nat", "router", "hairpin", "ipv6", "clock", "bootstrap", "uplink", "slots", "buffers"}; !slices.Equal(names, want) {
		t.Errorf("checks %v", names)
	}

	out, err = exec.Command(c.exe, "doctor", "--home", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--stun", "127.0.0.1:9", "--ntp", "none",
		"--bootstrap", "/ip4/127.0.0.1/udp/9/quic-v1/p2p/"+boot.peer).Output()
	if err == nil || !strings.Contains(string(out), "verdict: this machine cannot take part") {
		t.Errorf("with nobody to reach: %v\n%s", err, out)
	}
}
