//go:build !linux

package burst

import (
	"net"
	"net/netip"
	"time"
)

// destination is not needed here: net sends.
type destination struct{}

func destinationOf(*net.UDPConn, netip.AddrPort) (d destination) { return d }

// sender is a way past net, which this system lacks.
type sender struct{}

func (*sender) init(*net.UDPConn) {}

func (*sender) close() {}

func (*sender) send([]byte, int, *destination, bool) (done, full bool) { return false, false }

// batch is the same for receiving.
type batch struct{}

func (*batch) init(*net.UDPConn, func([]byte, int, netip.AddrPort, time.Time), func()) {}

func (*batch) read() (ok bool, err error) { return false, nil }
