package vnet

import (
	"net"
	"net/netip"

	"github.com/pion/stun/v3"
)

// ServeSTUN answers STUN binding requests (RFC 8489) on port until the network closes.
func (h *Host) ServeSTUN(port uint16) (netip.AddrPort, error) {
	c, err := h.ListenUDP(port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	h.net.wg.Go(func() {
		buf := make([]byte, maxPayload)
		for {
			n, from, err := c.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			req := &stun.Message{Raw: buf[:n]}
			if req.Decode() != nil || req.Type != stun.BindingRequest {
				continue
			}
			mapped := &stun.XORMappedAddress{IP: net.IP(from.Addr().AsSlice()), Port: int(from.Port())}
			res, err := stun.Build(req, stun.BindingSuccess, mapped, stun.Fingerprint)
			if err != nil {
				continue
			}
			if _, err := c.WriteToAddrPort(res.Raw, from); err != nil {
				return
			}
		}
	})
	return c.local, nil
}
