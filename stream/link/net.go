package link

import (
	"fmt"
	"net"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
)

// socketBuffer is asked for on each UDP socket: a history burst overflows the 208 KiB
// that Linux gives by default. The kernel grants what net.core.rmem_max allows.
const socketBuffer = 4 << 20

// bufferedNet is the system's network with larger UDP buffers.
type bufferedNet struct{ *stdnet.Net }

// newBufferedNet looks at the machine's interfaces anew: a laptop moves between them.
func newBufferedNet() (*bufferedNet, error) {
	n, err := stdnet.NewNet()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	return &bufferedNet{n}, nil
}

// ListenUDP opens a socket with large buffers. That the kernel refuses them is no reason
// to go without the link.
func (n *bufferedNet) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(socketBuffer)
	_ = c.SetWriteBuffer(socketBuffer)
	return c, nil
}
