package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/pion/stun/v3"
)

// stunPort is STUN's own (RFC 8489, section 13), where listeners ask bootstrap nodes.
const stunPort = "3478"

// maxSTUN is more than any binding request has.
const maxSTUN = 1500

// stunServer tells who asks which address it comes from: binding requests of RFC 8489,
// without authentication, as every public STUN server does.
type stunServer struct {
	conn net.PacketConn
	done chan struct{}
}

// listenSTUN opens addr; an empty one means the standard port, unless this node is for
// its own machine alone or the port is taken, none means nil.
func listenSTUN(addr string, n network, log *slog.Logger) (*stunServer, error) {
	asked := addr != ""
	switch {
	case addr == "none", !asked && len(n.listen) > 0 && !slices.ContainsFunc(n.listen, notLoopback):
		return nil, nil
	case !asked:
		addr = ":" + stunPort
	}
	conn, err := net.ListenPacket("udp", addr)
	if err != nil && !asked {
		log.Warn("STUN is not served", "err", err)
		return nil, nil
	}
	if err != nil {
		return nil, portError(fmt.Errorf("--stun-listen %s: %w", addr, err), "stun-listen")
	}
	s := &stunServer{conn: conn, done: make(chan struct{})}
	go s.serve(log)
	return s, nil
}

func (s *stunServer) addr() string { return s.conn.LocalAddr().String() }

func (s *stunServer) close() error {
	if s == nil {
		return nil
	}
	err := s.conn.Close()
	<-s.done
	return err
}

func (s *stunServer) serve(log *slog.Logger) {
	defer close(s.done)
	buf := make([]byte, maxSTUN)
	for {
		k, from, err := s.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error that came back for an earlier answer
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok {
			continue
		}
		answer := stunAnswer(buf[:k], udp)
		if answer == nil {
			continue
		}
		if _, err := s.conn.WriteTo(answer, from); err != nil {
			log.Debug("STUN answer", "to", from, "err", err)
		}
	}
}

// stunAnswer is the success response to a binding request, nil for anything else.
func stunAnswer(request []byte, from *net.UDPAddr) []byte {
	if !stun.IsMessage(request) {
		return nil
	}
	m := &stun.Message{Raw: slices.Clone(request)}
	if m.Decode() != nil || m.Type != stun.BindingRequest {
		return nil
	}
	answer, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.IP, Port: from.Port}, stun.Fingerprint)
	if err != nil {
		return nil
	}
	return answer.Raw
}
