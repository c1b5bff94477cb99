package burst

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// What had to wait for the reader came when the socket was last seen empty, not when it was
// read: a relay that is late must see that it is. What the reader waited for comes now.
func TestLateReads(t *testing.T) {
	in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := net.DialUDP("udp4", nil, in.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	send := func() {
		if _, err := out.Write([]byte("media")); err != nil { // it is there when Write returns
			t.Fatal(err)
		}
	}
	var r batch
	var came []time.Time
	var busy time.Time // when the reader had read, and had something else to do
	r.init(in, func(_ []byte, _ int, _ netip.AddrPort, at time.Time) { came = append(came, at) }, func() { busy = time.Now() })
	if r.raw == nil {
		t.Fatal("recvmmsg is not to be had here")
	}
	read := func() {
		if _, err := r.read(); err != nil {
			t.Fatal(err)
		}
	}

	send()
	read()
	send() // while it is busy
	late := busy
	read()
	if err := r.raw.Read(func(fd uintptr) bool { return !r.once(fd) }); err != nil { // finds nothing: it would wait
		t.Fatal(err)
	}
	before := time.Now()
	send()
	read()
	if len(came) != 3 || came[1].After(late) || came[2].Before(before) {
		t.Errorf("came at %v; the second while the reader was busy since %v, the third after %v", came, late, before)
	}
}
