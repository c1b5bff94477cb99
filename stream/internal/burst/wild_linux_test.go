package burst

import "testing"

// What leaves a socket that is bound to no address, as pion's for what STUN tells are,
// comes from the address that leads to the other side.
func TestUnbound(t *testing.T) {
	r := &taker{came: make(chan struct{}, 1)}
	from, _, in := paths(t, r)
	c, err := from.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out := c.(*conn)
	if s := out.sock.Load(); s.out.fd != 0 {
		t.Error("it sends from 127.0.0.1 whoever it sends to")
	}
	from.route.Store(routeTo(out, addrOf(in)))
	exchange(t, r, from, in)
}
