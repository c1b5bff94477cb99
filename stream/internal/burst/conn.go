package burst

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v4"
)

const (
	seenEvery = time.Second // how often pion is told that the other side lives
	maxLeft   = 256         // packets that wait for pion to read them
)

// route is where the connection sends.
type route struct {
	conn *conn
	pion netip.AddrPort // the other side as pion knows it
	to   netip.AddrPort // where it is now
	name destination    // to, as the system wants it
}

// socket is what a conn has of the system.
type socket struct {
	transport.UDPConn
	udp *net.UDPConn // nil: not the system's
	out sender       // Path.sendMu guards it
	in  batch
}

// conn is one socket of a connection, or what has taken its place. pion's reading
// goroutine owns the reading part.
type conn struct {
	transport.UDPConn // as pion opened it; for what neither reads nor writes
	path              *Path
	sock              atomic.Pointer[socket]
	closed            bool // Path.sendMu guards it

	left   []datagram // pion's own, not read yet; in order
	from   netip.AddrPort
	now    time.Time // of the last read
	open   bool      // the receiver has got something since its last Flush
	seen   bool      // something authentic came
	seenAt time.Time
}

// datagram is one that has arrived for pion.
type datagram struct {
	b    []byte
	from netip.AddrPort
}

func newConn(p *Path, c transport.UDPConn) *conn {
	out := &conn{UDPConn: c, path: p}
	out.sock.Store(out.socket(c))
	return out
}

func (c *conn) socket(s transport.UDPConn) *socket {
	out := &socket{UDPConn: s}
	if udp, ok := s.(*net.UDPConn); ok {
		out.udp = udp
		out.out.init(udp)
		out.in.init(udp, c.take, c.pause)
	}
	return out
}

// Close closes the socket.
func (c *conn) Close() error {
	c.path.sendMu.Lock()
	defer c.path.sendMu.Unlock()
	c.closed = true
	s := c.sock.Load()
	s.out.close()
	return s.Close()
}

// SetDeadline, SetReadDeadline and SetWriteDeadline are those of the socket in use.
func (c *conn) SetDeadline(t time.Time) error      { return c.sock.Load().SetDeadline(t) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.sock.Load().SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.sock.Load().SetWriteDeadline(t) }

// isMedia tells RTP from STUN, DTLS and RTCP (RFC 7983; RFC 5761, section 4).
func isMedia(b []byte) bool {
	return len(b) > headSize && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223)
}

// ReadFromAddrPort gives pion what is pion's.
func (c *conn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		if len(c.left) > 0 {
			d := c.left[0]
			c.left[0] = datagram{}
			c.left = c.left[1:]
			return copy(b, d.b), c.path.known(c, d.from), nil
		}
		if c.seen && c.now.Sub(c.seenAt) >= seenEvery {
			c.seen, c.seenAt = false, c.now
			// An empty packet: ICE notes who lives, and nobody above does anything with it.
			return 0, c.path.known(c, c.from), nil
		}
		s := c.sock.Load()
		ok, err := s.in.read()
		if !ok {
			err = c.readOne(s, b)
		}
		if err != nil && c.sock.Load() == s { // else another has taken its place
			return 0, netip.AddrPort{}, err
		}
	}
}

// take sorts what has been read together: media is opened at once, the rest is pion's.
func (c *conn) take(b []byte, size int, from netip.AddrPort, now time.Time) {
	c.now = now
	mine := c.path.receiver != nil
	for len(b) > 0 {
		pkt := b[:min(size, len(b))]
		b = b[len(pkt):]
		if mine && isMedia(pkt) && c.path.Ready() {
			if c.path.open(c, pkt, from, now) {
				c.open, c.seen, c.from = true, true, from
			}
		} else if len(c.left) < maxLeft {
			c.left = append(c.left, datagram{slices.Clone(pkt), from})
		}
	}
}

// pause ends a run of reads: the receiver may go on with what it got.
func (c *conn) pause() {
	if c.open {
		c.open = false
		c.path.flushed()
	}
}

// readOne waits for a datagram where batches can't be read.
func (c *conn) readOne(s *socket, b []byte) (err error) {
	var n int
	var from netip.AddrPort
	if s.udp != nil {
		n, from, err = s.udp.ReadFromUDPAddrPort(b)
	} else {
		var a net.Addr
		n, a, err = s.ReadFrom(b)
		if u, ok := a.(*net.UDPAddr); ok {
			from = u.AddrPort()
		}
	}
	if err != nil {
		return err
	}
	c.take(b[:n], n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), time.Now())
	c.pause()
	return nil
}

// ReadFrom is ReadFromAddrPort for whoever does not know that.
func (c *conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteToAddrPort sends a packet of pion's. It sends all but STUN over the pair of
// addresses that it has chosen: media goes there too.
func (c *conn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	s, r := c.sock.Load(), c.path.route.Load()
	if len(b) > 0 && b[0] > 3 && (r == nil || r.conn != c || r.pion != to) {
		r = &route{c, to, to, destinationOf(s.udp, to)}
		c.path.route.Store(r)
	}
	if r != nil && r.conn == c && r.pion == to {
		to = r.to
	}
	return s.write(b, to)
}

func (s *socket) write(b []byte, to netip.AddrPort) (int, error) {
	if s.udp != nil {
		return s.udp.WriteToUDPAddrPort(b, to)
	}
	return s.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

// WriteTo is WriteToAddrPort for whoever does not know that.
func (c *conn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, errors.New("not a UDP address")
	}
	return c.WriteToAddrPort(b, u.AddrPort())
}

// sendRun sends packets of size bytes (the last may be shorter) to where r leads. False:
// the socket's buffer is full, and waiting was not wanted.
func (s *socket) sendRun(b []byte, size int, r *route, wait bool) bool {
	if len(b) > size {
		if done, full := s.out.send(b, size, &r.name, wait); done || full {
			return !full
		}
	}
	for len(b) > 0 {
		n := min(size, len(b))
		done, full := s.out.send(b[:n], 0, &r.name, wait)
		if full {
			return false
		}
		if !done {
			_, _ = s.write(b[:n], r.to) // what can't be sent is lost, as on any network
		}
		b = b[n:]
	}
	return true
}
