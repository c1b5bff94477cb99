// Package burst takes a PeerConnection's media past pion's stack: pion gathers, checks
// and encrypts the connection (ICE, DTLS), and this package has the sockets. What is
// sent together leaves in one call by UDP segmentation offload; what arrives together
// is read in one call, opened in the reading goroutine and handed on in one go, so
// that a frame of ten packets wakes the process once. Without the offloads, or without
// a real socket, the same works packet by packet.
//
// The bytes on the wire are ordinary SRTP under the keys of the DTLS handshake.
package burst

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"
)

// ReplayWindow is how many packets late a packet may come.
const ReplayWindow = 1024

// Receiver takes the RTP packets that arrive. Its methods are called by one goroutine at
// a time, between which pion's own work for the connection waits.
type Receiver interface {
	// Room is where a packet of n bytes is opened to.
	Room(n int) []byte
	// Packet takes an opened packet, RTP header first; it lies in what Room gave last.
	Packet(b []byte, now time.Time)
	// Flush says that nothing more lies ready.
	Flush()
}

// Path is the way of one PeerConnection's media. Give it to SettingEngine.SetNet; Start
// it once the connection is up.
type Path struct {
	transport.Net
	receiver Receiver // nil: arriving media is pion's

	route atomic.Pointer[route]
	ready atomic.Bool // Start has been called and went well

	recvMu sync.Mutex // guards what follows
	opener *srtp.Context
	inHead rtp.Header
	newest uint16 // sequence number of what came
	heard  bool   // something came

	sendMu sync.Mutex // guards all below
	sealer *srtp.Context
	burst  *burst
	head   rtp.Header
}

// New makes the path of a connection over n. A nil receiver leaves what arrives to pion.
func New(n transport.Net, r Receiver) *Path { return &Path{Net: n, receiver: r} }

// ListenUDP opens one of the connection's sockets.
func (p *Path) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	c, err := p.Net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	return newConn(p, c), nil
}

// Start takes over the connection's media once its state is connected; client says
// which side of the DTLS handshake this is. After an error all stays with pion.
func (p *Path) Start(pc *webrtc.PeerConnection, client bool) error {
	cfg, err := keys(pc, client)
	if err != nil {
		return fmt.Errorf("take over the media: %w", err)
	}
	sealer, err := srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile)
	if err != nil {
		return fmt.Errorf("take over the media: %w", err)
	}
	opener, err := srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile,
		srtp.SRTPReplayProtection(ReplayWindow))
	if err != nil {
		return fmt.Errorf("take over the media: %w", err)
	}
	if p.route.Load() == nil {
		return errors.New("take over the media: nothing was sent yet")
	}
	p.recvMu.Lock()
	p.opener = opener
	p.recvMu.Unlock()
	p.sendMu.Lock()
	p.sealer = sealer
	p.sendMu.Unlock()
	p.ready.Store(true)
	return nil
}

// Ready reports whether Start went well: packets may be sent.
func (p *Path) Ready() bool { return p.ready.Load() }

// open decrypts a packet that c has read and hands it on. False: not authentic, or seen
// before.
func (p *Path) open(c *conn, b []byte, from netip.AddrPort, now time.Time) bool {
	p.recvMu.Lock()
	defer p.recvMu.Unlock()
	if len(b) > maxPacket {
		return false
	}
	out, err := p.opener.DecryptRTP(p.receiver.Room(len(b)), b, &p.inHead)
	if err != nil {
		return false
	}
	p.follow(c, from, p.inHead.SequenceNumber)
	p.receiver.Packet(out, now)
	return true
}

func (p *Path) flushed() {
	p.recvMu.Lock()
	defer p.recvMu.Unlock()
	p.receiver.Flush()
}

// Deliver hands the receiver a packet that pion has opened.
func (p *Path) Deliver(b []byte, now time.Time) {
	p.recvMu.Lock()
	defer p.recvMu.Unlock()
	p.receiver.Packet(append(p.receiver.Room(len(b)), b...), now)
	p.receiver.Flush()
}
