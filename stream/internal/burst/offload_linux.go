package burst

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	oobSize    = 64      // room for the control messages of a read
	sendBuffer = 4 << 20 // bytes; the kernel grants net.core.wmem_max
	roomWait   = 100     // ms for room in the send buffer
)

// destination is an address for sendmsg; nil: net has to send there.
type destination = unix.Sockaddr

func destinationOf(c *net.UDPConn, to netip.AddrPort) destination {
	if c == nil {
		return nil
	}
	if local, ok := c.LocalAddr().(*net.UDPAddr); ok && local.IP.To4() != nil {
		if a := to.Addr().Unmap(); a.Is4() {
			return &unix.SockaddrInet4{Port: int(to.Port()), Addr: a.As4()}
		}
		return nil
	}
	out := &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if zone := to.Addr().Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return nil
		}
		out.ZoneId = uint32(i.Index)
	}
	return out
}

// sender sends from a socket's address through a socket of its own: segmented
// (UDP_SEGMENT, Linux 4.18), without waiting, and without Go's poller, which is told
// each time that a packet has left and there is room again: at four children that was
// more wake-ups than the media's. One goroutine at a time uses it; Path.sendMu sees to
// that.
type sender struct {
	fd       int // 0: none, net has to send
	segments bool
	space    [24]byte
}

func (s *sender) init(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	if err := raw.Control(func(fd uintptr) { s.fd, err = twin(int(fd)) }); err != nil || s.fd == 0 {
		return
	}
	_, err = unix.GetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	s.segments = err == nil
	// cmsghdr: length, level, type, then the segment size. 64-bit systems; on 32-bit ones
	// the kernel refuses it and packets go one by one.
	binary.NativeEndian.PutUint64(s.space[:], uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(s.space[8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(s.space[12:], unix.UDP_SEGMENT)
}

func (s *sender) close() {
	if s.fd != 0 {
		_ = unix.Close(s.fd) // nothing can be done about it
		s.fd = 0
	}
}

// twin makes a second socket with the address of fd. It is connected to itself, so that
// the kernel gives what arrives to fd alone. Both may be bound to one address because
// they say so (SO_REUSEADDR), for this moment only: other programs can't join in.
func twin(fd int) (_ int, err error) {
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	family := unix.AF_INET
	if _, ok := addr.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	t, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	share := func(on int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, on),
			unix.SetsockoptInt(t, unix.SOL_SOCKET, unix.SO_REUSEADDR, on))
	}
	err = share(1)
	if err == nil {
		err = unix.Bind(t, addr)
	}
	if err == nil {
		err = unix.Connect(t, addr)
	}
	if err = errors.Join(err, share(0)); err != nil {
		return 0, errors.Join(err, unix.Close(t))
	}
	_ = unix.SetsockoptInt(t, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer) // as much as we may have
	return t, nil
}

// send sends b, in segments of size unless that is 0. Not done: net has to send it,
// packet by packet. full: the socket's buffer is, and waiting was not wanted.
func (s *sender) send(b []byte, size int, to destination, wait bool) (done, full bool) {
	if s.fd == 0 || to == nil || size > 0 && !s.segments {
		return false, false
	}
	var oob []byte
	if size > 0 {
		binary.NativeEndian.PutUint16(s.space[16:], uint16(size))
		oob = s.space[:unix.CmsgSpace(2)]
	}
	_, err := unix.SendmsgN(s.fd, b, oob, to, 0)
	if err == unix.EAGAIN && wait {
		// A narrow uplink: rare enough to hold a thread for it.
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, roomWait); n > 0 {
			_, err = unix.SendmsgN(s.fd, b, oob, to, 0)
		}
	}
	switch err {
	case unix.EAGAIN, unix.ENOBUFS:
		return true, true
	case unix.EIO, unix.EINVAL, unix.EMSGSIZE, unix.ENOPROTOOPT:
		if size > 0 { // a device without checksum offload, or a narrower path: never again here
			s.segments = false
			return false, false
		}
	}
	return true, false // what else went wrong is loss, as on any network
}

// enableGRO makes the kernel hand over a burst in one read (UDP_GRO, Linux 5.0).
func enableGRO(c *net.UDPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var opt error
	err = raw.Control(func(fd uintptr) { opt = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1) })
	return err == nil && opt == nil
}

// segmentSize is the size of the packets in a read of n bytes.
func segmentSize(oob []byte, n int) int {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 2 {
			// An int in newer kernels, 16 bits in the first ones: equal on little-endian.
			size := int(binary.NativeEndian.Uint16(data))
			if len(data) >= 4 {
				size = int(binary.NativeEndian.Uint32(data))
			}
			if size > 0 {
				return size
			}
		}
		oob = rest
	}
	return n
}
