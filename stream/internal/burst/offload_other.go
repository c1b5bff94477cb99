//go:build !linux

package burst

import (
	"net"
	"net/netip"
)

const oobSize = 0

// destination is not needed here: net sends.
type destination struct{}

func destinationOf(*net.UDPConn, netip.AddrPort) destination { return destination{} }

// sender is a way past net, which this system lacks.
type sender struct{}

func (*sender) init(*net.UDPConn) {}

func (*sender) close() {}

func (*sender) send([]byte, int, destination, bool) (done, full bool) { return false, false }

func enableGRO(*net.UDPConn) bool { return false }

func segmentSize(_ []byte, n int) int { return n }
