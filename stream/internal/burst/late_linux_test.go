package burst

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// What had to wait for the reader came when the kernel got it, not when it was read, however
// many reads it takes: a relay that is late must see how late it is.
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
	var r batch
	var came []time.Time
	r.init(in, func(_ []byte, _ int, _ netip.AddrPort, at time.Time) { came = append(came, at) }, func() {})
	if r.raw == nil {
		t.Fatal("recvmmsg is not to be had here")
	}
	type span struct{ from, to time.Time }
	var sent []span
	for range 10*burstReads + 2 { // more than a call reads
		s := span{from: time.Now()}
		if _, err := out.Write([]byte("media")); err != nil { // it is there when Write returns
			t.Fatal(err)
		}
		s.to = time.Now()
		sent = append(sent, s)
		for time.Since(s.to) < time.Millisecond {
		}
	}
	for len(came) < len(sent) {
		if _, err := r.read(); err != nil {
			t.Fatal(err)
		}
	}
	for i, at := range came {
		if at.Before(sent[i].from) || at.After(sent[i].to) {
			t.Errorf("packet %d of %d came %v after it was sent, %v before Write was back", i, len(sent), at.Sub(sent[i].from), sent[i].to.Sub(at))
		}
	}
}

// A clock that was set does not make packets come before the socket was empty, or hereafter.
func TestBetween(t *testing.T) {
	from := time.Now()
	to := from.Add(time.Second)
	for add, want := range map[time.Duration]time.Time{
		-time.Hour:             from,
		500 * time.Millisecond: from.Add(500 * time.Millisecond),
		time.Hour:              to,
	} {
		if got := between(from, from.Add(add), to); !got.Equal(want) {
			t.Errorf("%v: %v, not %v", add, got.Sub(from), want.Sub(from))
		}
	}
}

func FuzzTold(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 104, 0, 0, 0, 0x4c, 4, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{32, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 64, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, oob []byte) {
		if size, _ := told(oob); size < 0 {
			t.Errorf("packets of %d bytes", size)
		}
	})
}
