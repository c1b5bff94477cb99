package burst

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readRoom   = 256 << 10 // bytes of a call, in equal parts for its reads
	burstReads = 4         // of up to 64 KiB, if the kernel joins a burst (UDP_GRO, Linux 5.0)
	plainReads = 32        // of up to 8 KiB, if it does not
	moreReads  = 64        // calls one after the other, while they come back full: who is late must not fall behind further
	oobSize    = 64        // room for the control messages of a read
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	msg unix.Msghdr
	n   uint32
}

// reads is the memory of one call. Sockets share it: what is read is gone through
// before anything is waited for.
type reads struct {
	msgs  [plainReads]mmsghdr
	vecs  [plainReads]unix.Iovec
	names [plainReads]unix.RawSockaddrInet6
	oobs  [plainReads][oobSize]byte
	buf   [readRoom]byte
}

var readsPool = sync.Pool{New: func() any {
	r := &reads{}
	for i := range r.msgs {
		m := &r.msgs[i].msg
		m.Name, m.Iov, m.Control = (*byte)(unsafe.Pointer(&r.names[i])), &r.vecs[i], &r.oobs[i][0]
		m.SetIovlen(1)
	}
	return r
}}

// batch reads a socket by recvmmsg, a burst at a time. Go's scheduler is not told of the
// calls, as with sender.sendmsg.
type batch struct {
	raw   syscall.RawConn // nil: net has to read
	fill  func(fd uintptr) bool
	more  func(fd uintptr) bool // fill that waits for nothing
	joins bool                  // UDP_GRO
	waits bool                  // nothing was left to read, and the poller has been asked for more
	take  func(b []byte, size int, from netip.AddrPort, now time.Time)
	done  func()
	got   *reads    // by fill; nil: nothing
	n     int       // datagrams in got
	err   error     // of fill
	empty time.Time // when nothing was left to read: what is read next has come since; zero: never yet
	scope uint32    // of the last link-local address …
	zone  string    // … and its interface
}

// init prepares to read c; take gets each datagram, or each run of datagrams of size
// bytes, and done is called after those that came together.
func (r *batch) init(c *net.UDPConn, take func(b []byte, size int, from netip.AddrPort, now time.Time), done func()) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	// A call for nothing tells whether there is such a call (a sandbox may lack it).
	if _, _, no := syscall.RawSyscall6(unix.SYS_RECVMMSG, ^uintptr(0), 0, 0, 0, 0, 0); no == unix.ENOSYS || no == unix.EPERM {
		return
	}
	r.raw, r.joins, r.take, r.done = raw, joining(raw, 1) == nil, take, done
	_ = option(raw, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1) // else empty has to do
	r.fill = r.once
	r.more = func(fd uintptr) bool {
		r.once(fd)
		r.waits = false
		return true
	}
}

// joining switches UDP_GRO.
func joining(raw syscall.RawConn, on int) error {
	return option(raw, unix.SOL_UDP, unix.UDP_GRO, on)
}

func option(raw syscall.RawConn, level, name, value int) (err error) {
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, name, value) }); e != nil {
		return e
	}
	return err
}

// part is the room for a read, of which there are count.
func (r *batch) part() (size, count int) {
	count = plainReads
	if r.joins {
		count = burstReads
	}
	return readRoom / count, count
}

// read waits for datagrams and hands them on; ok is false where the kernel lacks
// recvmmsg: net has to read. They are gone through after the poller's callback, which
// whoever closes the socket waits for, perhaps with a lock that the receiver wants.
//
// What had to wait for us is said to have come when the kernel got it, or, if the kernel does
// not say, when the socket was last seen empty: who is late must see that it is.
func (r *batch) read() (ok bool, err error) {
	if r.raw == nil {
		return false, nil
	}
	call, some := r.fill, false
	for range moreReads {
		r.err = nil
		if err = r.raw.Read(call); err == nil {
			err = r.err
		}
		if r.got == nil {
			break
		}
		some, call = true, r.more
		if full := r.handOn(); !full || err != nil {
			break
		}
	}
	if some {
		r.done()
	}
	return true, err
}

// handOn hands on what one call has got, and says whether that was all it had room for.
func (r *batch) handOn() (full bool) {
	m := r.got
	r.got = nil
	defer readsPool.Put(m)
	now := time.Now()
	unsaid := now
	if !r.waits && !r.empty.IsZero() {
		unsaid = r.empty
	}
	size, count := r.part()
	for i := range m.msgs[:r.n] {
		h := &m.msgs[i]
		b := m.buf[i*size:][:min(int(h.n), size)]
		said, came := told(m.oobs[i][:min(int(h.msg.Controllen), oobSize)])
		at := unsaid
		if !came.IsZero() {
			at = between(r.empty, now.Add(-now.Sub(came)), now)
		}
		if said == 0 {
			said = len(b)
		}
		r.take(b, said, r.source(&m.names[i]), at)
	}
	full = r.n == count
	if r.waits = false; !full {
		r.empty = now
	}
	return full
}

// between is t, no sooner than from and no later than to: the clock of the wall, which the
// kernel reads, may be set meanwhile.
func between(from, t, to time.Time) time.Time {
	switch {
	case t.After(to):
		return to
	case t.Before(from):
		return from
	}
	return t
}

// once is one call; false: nothing has come.
func (r *batch) once(fd uintptr) bool {
	m := readsPool.Get().(*reads)
	size, count := r.part()
	for i := range m.msgs[:count] {
		m.vecs[i].Base = &m.buf[i*size]
		m.vecs[i].SetLen(size)
		h := &m.msgs[i].msg
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(oobSize)
	}
	n, _, err := syscall.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&m.msgs)), uintptr(count), unix.MSG_DONTWAIT, 0, 0)
	if err == 0 {
		r.got, r.n = m, int(n)
		return true
	}
	readsPool.Put(m)
	if err == unix.EAGAIN {
		r.waits, r.empty = true, time.Now()
		return false
	}
	if err != unix.EINTR {
		r.err = os.NewSyscallError("recvmmsg", err)
	}
	return true
}

// source is the address that a datagram came from.
func (r *batch) source(name *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	switch name.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr), port)
	case unix.AF_INET6:
		a := netip.AddrFrom16(name.Addr).Unmap()
		if a.Is4() || name.Scope_id == 0 {
			return netip.AddrPortFrom(a, port)
		}
		if r.scope != name.Scope_id {
			i, err := net.InterfaceByIndex(int(name.Scope_id))
			if err != nil {
				return netip.AddrPortFrom(a, port)
			}
			r.scope, r.zone = name.Scope_id, i.Name
		}
		return netip.AddrPortFrom(a.WithZone(r.zone), port)
	}
	return netip.AddrPort{}
}

// told is what the kernel says of a read: the size of the packets that it has joined (0: it
// has not), and when they came (zero: unknown).
func told(oob []byte) (size int, came time.Time) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 2:
			// An int in newer kernels, 16 bits in the first ones: equal on little-endian.
			size = int(binary.NativeEndian.Uint16(data))
			if len(data) >= 4 {
				size = max(0, int(binary.NativeEndian.Uint32(data)))
			}
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS_NEW && len(data) >= 16:
			came = time.Unix(int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:])))
		}
		oob = rest
	}
	return size, came
}
