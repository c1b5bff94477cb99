package burst

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/pion/transport/v4"
)

const (
	seenEvery = time.Second // how often pion is told that the other side lives
	bulkAfter = 32          // media packets, then reads are made for bursts
	bulkSize  = 1 << 16
)

// route is where the connection sends.
type route struct {
	conn *conn
	to   netip.AddrPort
	name destination // to, as the system wants it
}

// conn is one socket of a connection. pion's reading goroutine owns the reading part.
type conn struct {
	transport.UDPConn
	path *Path
	udp  *net.UDPConn // nil: not the system's
	out  sender

	media  int    // packets of it so far
	bulk   []byte // read buffer, once there is enough of it
	oob    []byte //
	rest   []byte // of a read: not looked at yet
	seg    int    // size of the packets in rest
	from   netip.AddrPort
	now    time.Time // of the read
	open   bool      // the receiver has got something since its last Flush
	seen   bool      // something authentic came
	seenAt time.Time
}

func newConn(p *Path, c transport.UDPConn) *conn {
	out := &conn{UDPConn: c, path: p}
	if udp, ok := c.(*net.UDPConn); ok {
		out.udp = udp
		out.out.init(udp)
	}
	return out
}

// Close closes the socket.
func (c *conn) Close() error {
	c.path.sendMu.Lock()
	c.out.close()
	c.path.sendMu.Unlock()
	return c.UDPConn.Close()
}

// isMedia tells RTP from STUN, DTLS and RTCP (RFC 7983; RFC 5761, section 4).
func isMedia(b []byte) bool {
	return len(b) > headSize && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223)
}

// ReadFromAddrPort gives pion what is pion's.
func (c *conn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	mine := c.path.receiver != nil
	for {
		for len(c.rest) > 0 {
			pkt := c.rest[:min(c.seg, len(c.rest))]
			c.rest = c.rest[len(pkt):]
			if mine && isMedia(pkt) && c.path.Ready() {
				c.media++
				if c.path.open(pkt, c.now) {
					c.open, c.seen = true, true
				}
				continue
			}
			c.flush()
			return copy(b, pkt), c.from, nil
		}
		c.flush()
		if c.seen && c.now.Sub(c.seenAt) >= seenEvery {
			c.seen, c.seenAt = false, c.now
			// An empty packet: ICE notes who lives, and nobody above does anything with it.
			return 0, c.from, nil
		}
		if err := c.read(b); err != nil {
			return 0, netip.AddrPort{}, err
		}
	}
}

func (c *conn) flush() {
	if c.open {
		c.open = false
		c.path.flushed()
	}
}

// read waits for what comes next, in b while the connection carries little.
func (c *conn) read(b []byte) (err error) {
	if c.bulk == nil && c.media >= bulkAfter && c.udp != nil && enableGRO(c.udp) {
		c.bulk, c.oob = make([]byte, bulkSize), make([]byte, oobSize)
	}
	var n, k int
	in := b
	switch {
	case c.bulk != nil:
		in = c.bulk
		n, k, _, c.from, err = c.udp.ReadMsgUDPAddrPort(in, c.oob)
	case c.udp != nil:
		n, c.from, err = c.udp.ReadFromUDPAddrPort(in)
	default:
		var a net.Addr
		n, a, err = c.UDPConn.ReadFrom(in)
		if u, ok := a.(*net.UDPAddr); ok {
			c.from = u.AddrPort()
		}
	}
	if err != nil {
		return err
	}
	c.rest, c.seg = in[:n], segmentSize(c.oob[:k], n)
	c.from = netip.AddrPortFrom(c.from.Addr().Unmap(), c.from.Port())
	c.now = time.Now()
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
	if len(b) > 0 && b[0] > 3 {
		if r := c.path.route.Load(); r == nil || r.conn != c || r.to != to {
			c.path.route.Store(&route{c, to, destinationOf(c.udp, to)})
		}
	}
	return c.write(b, to)
}

func (c *conn) write(b []byte, to netip.AddrPort) (int, error) {
	if c.udp != nil {
		return c.udp.WriteToUDPAddrPort(b, to)
	}
	return c.UDPConn.WriteTo(b, net.UDPAddrFromAddrPort(to))
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
func (c *conn) sendRun(b []byte, size int, r *route, wait bool) bool {
	if len(b) > size {
		if done, full := c.out.send(b, size, r.name, wait); done || full {
			return !full
		}
	}
	for len(b) > 0 {
		n := min(size, len(b))
		done, full := c.out.send(b[:n], 0, r.name, wait)
		if full {
			return false
		}
		if !done {
			_, _ = c.write(b[:n], r.to) // what can't be sent is lost, as on any network
		}
		b = b[n:]
	}
	return true
}
