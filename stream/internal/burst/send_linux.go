package burst

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sendBuffer = 4 << 20 // bytes; the kernel grants net.core.wmem_max
	roomWait   = 100     // ms for room in the send buffer
)

// destination is an address as the kernel wants it; size 0: net has to send there.
type destination struct {
	name unix.RawSockaddrInet6 // or the smaller one for IPv4
	size uint32
}

func destinationOf(c *net.UDPConn, to netip.AddrPort) (d destination) {
	if c == nil {
		return d
	}
	// Both kinds of address have the port at the same place, in the network's order.
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&d.name.Port))[:], to.Port())
	if local, ok := c.LocalAddr().(*net.UDPAddr); ok && local.IP.To4() != nil {
		if a := to.Addr().Unmap(); a.Is4() {
			v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&d.name))
			v4.Family, v4.Addr = unix.AF_INET, a.As4()
			d.size = unix.SizeofSockaddrInet4
		}
		return d
	}
	if zone := to.Addr().Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return d
		}
		d.name.Scope_id = uint32(i.Index)
	}
	d.name.Family, d.name.Addr = unix.AF_INET6, to.Addr().As16()
	d.size = unix.SizeofSockaddrInet6
	return d
}

// sender sends from a socket's address through a socket of its own: segmented
// (UDP_SEGMENT, Linux 4.18), without waiting, and without Go's poller, which is told
// each time that a packet has left and there is room again: at four children that was
// more wake-ups than the media's. One goroutine at a time uses it; Path.sendMu sees to
// that.
type sender struct {
	fd       int // 0: none, net has to send
	segments bool
	to       destination
	vec      unix.Iovec
	space    [24]byte // the control message
	msg      unix.Msghdr
}

func (s *sender) init(c *net.UDPConn) {
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok && a.IP.IsUnspecified() {
		// Those are pion's for what STUN tells. Connected to itself, the second socket would
		// send from 127.0.0.1, which leads nowhere.
		return
	}
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
func (s *sender) send(b []byte, size int, to *destination, wait bool) (done, full bool) {
	if s.fd == 0 || to.size == 0 || size > 0 && !s.segments {
		return false, false
	}
	err := s.sendmsg(b, size, to)
	if err == unix.EAGAIN && wait {
		// A narrow uplink: rare enough to hold a thread for it.
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, roomWait); n > 0 {
			err = s.sendmsg(b, size, to)
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

// sendmsg is one system call that does not wait. Go's scheduler is not told of it
// (RawSyscall): that would wake its watcher of system calls (sysmon) with each burst,
// which then looks every 20 µs whether the call has ended.
func (s *sender) sendmsg(b []byte, size int, to *destination) syscall.Errno {
	// The kernel's structures lie in s, on the heap: nothing moves them.
	s.to = *to
	s.vec.Base = unsafe.SliceData(b)
	s.vec.SetLen(len(b))
	s.msg = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.to.name)), Namelen: s.to.size, Iov: &s.vec}
	s.msg.SetIovlen(1)
	if size > 0 {
		binary.NativeEndian.PutUint16(s.space[16:], uint16(size))
		s.msg.Control = &s.space[0]
		s.msg.SetControllen(unix.CmsgSpace(2))
	}
	_, _, err := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msg)), 0)
	runtime.KeepAlive(b)
	s.vec.Base = nil
	return err
}
