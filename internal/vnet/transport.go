package vnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/pion/transport/v4"
)

// Transport is the host's network as pion wants it (SettingEngine.SetNet): one interface
// with one address, UDP only, no names. What it can't do returns an error.
func (h *Host) Transport() transport.Net { return hostNet{h} }

// hostNet is a separate type because Host's own ListenUDP has a friendlier signature.
type hostNet struct{ h *Host }

func checkUDP(network string) error {
	if !slices.Contains([]string{"udp", "udp4"}, network) {
		return fmt.Errorf("vnet: network %q: %w", network, transport.ErrNotSupported)
	}
	return nil
}

func (n hostNet) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	if err := checkUDP(network); err != nil {
		return nil, err
	}
	c, err := n.h.bind(addr)
	if err != nil {
		return nil, err // not an interface that holds a nil socket
	}
	return c, nil
}

func (n hostNet) ListenPacket(network, address string) (net.PacketConn, error) {
	addr, err := n.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	return n.ListenUDP(network, addr)
}

func (n hostNet) DialUDP(network string, laddr, raddr *net.UDPAddr) (transport.UDPConn, error) {
	if err := checkUDP(network); err != nil {
		return nil, err
	}
	to := raddr.AddrPort()
	if !to.IsValid() || to.Addr().IsUnspecified() || to.Port() == 0 {
		return nil, n.h.opError("dial", errNoUDPAddress)
	}
	c, err := n.h.bind(laddr)
	if err != nil {
		return nil, err
	}
	mu := &n.h.net.mu
	mu.Lock()
	defer mu.Unlock()
	c.remote = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	return c, nil
}

func (n hostNet) Dial(network, address string) (net.Conn, error) {
	addr, err := n.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	return n.DialUDP(network, nil, addr)
}

// ResolveUDPAddr reads literal addresses only: a name would be asked of the real world.
func (n hostNet) ResolveUDPAddr(network, address string) (*net.UDPAddr, error) {
	if err := checkUDP(network); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ip := netip.IPv4Unspecified()
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return nil, fmt.Errorf("vnet: there are no names here: %w", err)
		}
	}
	p, err := net.LookupPort("udp", port)
	if err != nil {
		return nil, err
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(p))), nil
}

func (n hostNet) ResolveIPAddr(_, address string) (*net.IPAddr, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return nil, fmt.Errorf("vnet: there are no names here: %w", err)
	}
	return &net.IPAddr{IP: ip.AsSlice()}, nil
}

func (n hostNet) ListenTCP(string, *net.TCPAddr) (transport.TCPListener, error) {
	return nil, transport.ErrNotSupported
}

func (n hostNet) DialTCP(string, *net.TCPAddr, *net.TCPAddr) (transport.TCPConn, error) {
	return nil, transport.ErrNotSupported
}

func (n hostNet) ResolveTCPAddr(string, string) (*net.TCPAddr, error) {
	return nil, transport.ErrNotSupported
}

func (n hostNet) Interfaces() ([]*transport.Interface, error) {
	ifc := transport.NewInterface(net.Interface{
		Index: 1, MTU: 1500, Name: "vnet0", Flags: net.FlagUp | net.FlagRunning,
	})
	bits := n.h.ip.BitLen()
	ifc.AddAddress(&net.IPNet{IP: n.h.ip.AsSlice(), Mask: net.CIDRMask(bits, bits)})
	return []*transport.Interface{ifc}, nil
}

func (n hostNet) InterfaceByIndex(index int) (*transport.Interface, error) {
	return n.iface(func(i *transport.Interface) bool { return i.Index == index })
}

func (n hostNet) InterfaceByName(name string) (*transport.Interface, error) {
	return n.iface(func(i *transport.Interface) bool { return i.Name == name })
}

func (n hostNet) iface(is func(*transport.Interface) bool) (*transport.Interface, error) {
	all, err := n.Interfaces()
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], err
	}
	return nil, transport.ErrInterfaceNotFound
}

func (n hostNet) CreateDialer(*net.Dialer) transport.Dialer { return n }

func (n hostNet) CreateListenConfig(*net.ListenConfig) transport.ListenConfig {
	return listenConfig{n}
}

type listenConfig struct{ n hostNet }

func (l listenConfig) Listen(context.Context, string, string) (net.Listener, error) {
	return nil, transport.ErrNotSupported
}

func (l listenConfig) ListenPacket(_ context.Context, network, address string) (net.PacketConn, error) {
	return l.n.ListenPacket(network, address)
}
