package vnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pion/transport/v4"
)

// defaultBuffer is Linux's net.core.rmem_default; SetReadBuffer changes it. Only payload
// is counted.
const defaultBuffer = 212_992

// Conn is a UDP socket. Reads block until a packet, Close or the deadline; writes never
// block, and what can't be delivered vanishes.
type Conn struct {
	host   *Host
	local  netip.AddrPort
	remote netip.AddrPort // set: connected, hears nobody else

	// Guarded by host.net.mu, which ready waits with.
	ready    *sync.Cond
	queue    []packet
	queued   int // bytes in queue
	buffer   int
	closed   bool
	deadline time.Time
	alarm    *time.Timer // wakes readers at the deadline
	flows    map[netip.AddrPort]*flow
}

var _ transport.UDPConn = (*Conn)(nil)

// push queues p for reading, unless the buffer is full. The caller holds net.mu.
func (c *Conn) push(p packet) bool {
	if c.queued+len(p.data) > c.buffer {
		return false
	}
	c.queue = append(c.queue, p)
	c.queued += len(p.data)
	c.ready.Signal()
	return true
}

// ReadFromAddrPort reads one packet; what does not fit b is cut off.
func (c *Conn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, netip.AddrPort{}, c.host.opError("read", net.ErrClosed)
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, netip.AddrPort{}, c.host.opError("read", os.ErrDeadlineExceeded)
		case len(c.queue) > 0:
			p := c.queue[0]
			c.queue[0] = packet{}
			if c.queue = c.queue[1:]; len(c.queue) == 0 {
				c.queue = nil
			}
			c.queued -= len(p.data)
			return copy(b, p.data), p.from, nil
		}
		c.ready.Wait()
	}
}

// WriteToAddrPort sends b.
func (c *Conn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	switch {
	case !to.IsValid() || to.Port() == 0:
		return 0, c.host.opError("write", syscall.EINVAL)
	case len(b) > 65507: // RFC 768: what the length field can say, less headers
		return 0, c.host.opError("write", syscall.EMSGSIZE)
	}
	if !c.host.net.send(c, to, b) {
		return 0, c.host.opError("write", net.ErrClosed)
	}
	return len(b), nil
}

// Close frees the port and wakes readers.
func (c *Conn) Close() error {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	if c.closed {
		return c.host.opError("close", net.ErrClosed)
	}
	c.closeLocked()
	return nil
}

func (c *Conn) closeLocked() {
	c.closed = true
	c.queue = nil
	if c.alarm != nil {
		c.alarm.Stop()
	}
	delete(c.host.conns, c.local.Port())
	if c.host.gw != nil {
		c.host.gw.forget(c)
	}
	c.ready.Broadcast()
}

// SetReadDeadline works as in package net.
func (c *Conn) SetReadDeadline(t time.Time) error {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	if c.closed {
		return c.host.opError("set", net.ErrClosed)
	}
	if c.alarm != nil {
		c.alarm.Stop()
		c.alarm = nil
	}
	c.deadline = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		c.alarm = time.AfterFunc(wait, func() {
			mu.Lock()
			defer mu.Unlock()
			c.ready.Broadcast()
		})
	}
	c.ready.Broadcast()
	return nil
}

// SetDeadline is SetReadDeadline: writes don't wait.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writes don't wait.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer sets how many bytes may wait to be read.
func (c *Conn) SetReadBuffer(bytes int) error {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	c.buffer = bytes
	return nil
}

// SetWriteBuffer does nothing: HostConfig.Queue bounds what waits to leave.
func (c *Conn) SetWriteBuffer(int) error { return nil }

// LocalAddr is the host's address (even where an unspecified one was asked for) and port.
func (c *Conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// RemoteAddr is nil unless the socket was dialled.
func (c *Conn) RemoteAddr() net.Addr {
	if !c.remote.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(c.remote)
}

// ReadFromUDP is ReadFrom with a typed address.
func (c *Conn) ReadFromUDP(b []byte) (int, *net.UDPAddr, error) {
	n, from, err := c.ReadFromAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// ReadFrom reads one packet.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDP(b)
	if err != nil {
		return n, nil, err // not an interface that holds a nil address
	}
	return n, from, nil
}

// Read reads one packet.
func (c *Conn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFromAddrPort(b)
	return n, err
}

// ReadMsgUDP reads one packet; there is never out-of-band data.
func (c *Conn) ReadMsgUDP(b, _ []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	n, addr, err = c.ReadFromUDP(b)
	return n, 0, 0, addr, err
}

// WriteToUDP sends b to addr.
func (c *Conn) WriteToUDP(b []byte, addr *net.UDPAddr) (int, error) {
	return c.WriteToAddrPort(b, addr.AddrPort())
}

var errNoUDPAddress = errors.New("not a UDP address")

// WriteTo sends b to addr, which must be a *net.UDPAddr.
func (c *Conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	u, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, c.host.opError("write", errNoUDPAddress)
	}
	return c.WriteToUDP(b, u)
}

// Write sends b to where the socket was dialled.
func (c *Conn) Write(b []byte) (int, error) {
	if !c.remote.IsValid() {
		return 0, c.host.opError("write", syscall.EDESTADDRREQ)
	}
	return c.WriteToAddrPort(b, c.remote)
}

// WriteMsgUDP sends b; out-of-band data is ignored.
func (c *Conn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if addr == nil {
		n, err = c.Write(b)
	} else {
		n, err = c.WriteToUDP(b, addr)
	}
	return n, len(oob), err
}
