package link

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
)

// slowNames is a network whose name server does not answer until told to.
type slowNames struct {
	transport.Net
	answer chan struct{}
}

func (n slowNames) ResolveUDPAddr(network, address string) (*net.UDPAddr, error) {
	if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host) == nil {
		<-n.answer
		return nil, &net.DNSError{Err: "no answer", Name: host, IsTimeout: true}
	}
	return n.Net.ResolveUDPAddr(network, address)
}

// A laptop on a LAN without internet still offers its own addresses.
func TestOfferWithoutNameServer(t *testing.T) {
	std, err := stdnet.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	n := slowNames{std, make(chan struct{})}
	e, err := NewEngine(Config{STUN: []string{"stun.example:3478"}, Loopback: true, Net: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(n.answer); e.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	l, d, err := e.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if len(d.Candidates) == 0 {
		t.Error("an offer without candidates")
	}
}
