package burst

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// A side that goes on from another address is followed there by authentic packets, the
// newest one deciding; pion sees nothing of it.
func TestMove(t *testing.T) {
	r := &taker{came: make(chan struct{}, 1)}
	from, to, in := paths(t, r)
	out := from.route.Load().conn
	before := addrOf(out)
	to.route.Store(routeTo(in, before))
	send := func(p *Path, seq uint16) {
		p.Begin(true)
		p.Add(Head{Type: 96, SSRC: 1, Seq: seq}, bytes.Repeat([]byte{byte(seq)}, 100))
		p.Flush()
	}
	toPion := make(chan *net.UDPAddr, 8) // who sent what is pion's
	read := func(c *conn) {
		buf := make([]byte, 1500)
		for {
			n, a, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if n > 0 && buf[0] < 4 {
				toPion <- a.(*net.UDPAddr)
			}
		}
	}
	go read(in)
	go read(out)
	sawFrom := func() *net.UDPAddr {
		select {
		case a := <-toPion:
			return a
		case <-time.After(5 * time.Second):
			t.Fatal("pion got nothing")
			return nil
		}
	}

	send(from, 1)
	r.wait(t, 1)
	c, err := from.Net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	if err := from.Rebind(c); err != nil {
		t.Fatal(err)
	}
	after := addrOf(out)
	if local, remote, ok := from.Ends(); !ok || local != after || remote != addrOf(in) {
		t.Errorf("media goes from %v to %v", local, remote)
	}
	send(from, 3)
	r.wait(t, 2)
	if _, remote, _ := to.Ends(); remote != after {
		t.Errorf("media goes to %v, not to %v", remote, after)
	}

	stun := make([]byte, 20)
	if _, err := out.WriteToAddrPort(stun, addrOf(in)); err != nil {
		t.Fatal(err)
	}
	if a := sawFrom(); a.AddrPort() != before {
		t.Errorf("pion sees %v, not %v", a, before)
	}
	if _, err := in.WriteToAddrPort(stun, before); err != nil {
		t.Fatal(err)
	}
	if a := sawFrom(); a.AddrPort() != addrOf(in) {
		t.Errorf("pion sees %v, not %v", a, addrOf(in))
	}

	late, err := from.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	from.route.Store(routeTo(late.(*conn), addrOf(in)))
	send(from, 2)
	r.wait(t, 3)
	if _, remote, _ := to.Ends(); remote != after {
		t.Errorf("a late packet turned the media to %v", remote)
	}

	in.Close()
	if err := to.Rebind(c); err == nil {
		t.Error("a closed connection goes on")
	}
}
