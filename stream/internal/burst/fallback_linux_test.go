package burst

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel lacks costs system calls, and nothing else.
func TestFallbacks(t *testing.T) {
	for name, without := range map[string]func(t *testing.T, from, in *conn){
		"UDP_SEGMENT known":   func(_ *testing.T, from, _ *conn) { from.sock.Load().out.segments = false },
		"UDP_SEGMENT allowed": refuseSegments,
		"a second socket":     func(_ *testing.T, from, _ *conn) { from.sock.Load().out.close() },
		"UDP_GRO":             func(t *testing.T, _, in *conn) { withoutGRO(t, in) },
		"recvmmsg":            func(t *testing.T, _, in *conn) { withoutRecvmmsg(t, in) },
		"any of it": func(t *testing.T, from, in *conn) {
			from.sock.Load().out.close()
			withoutRecvmmsg(t, in)
		},
	} {
		t.Run("without "+name, func(t *testing.T) {
			r := &taker{came: make(chan struct{}, 1)}
			from, _, in := paths(t, r)
			out := from.route.Load().conn
			without(t, out, in)
			exchange(t, r, from, in)
			if name == "UDP_SEGMENT allowed" && out.sock.Load().out.segments {
				t.Error("the kernel took segments all the same")
			}
		})
	}
}

// refuseSegments makes the kernel refuse segmented sends, as for a device that can't
// fill in checksums.
func refuseSegments(t *testing.T, from, _ *conn) {
	if err := unix.SetsockoptInt(from.sock.Load().out.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
}

func withoutGRO(t *testing.T, c *conn) {
	if err := joining(c.sock.Load().in.raw, 0); err != nil {
		t.Fatal(err)
	}
	c.sock.Load().in.joins = false
}

func withoutRecvmmsg(t *testing.T, c *conn) {
	withoutGRO(t, c)
	c.sock.Load().in.raw = nil
}
