package wish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream/internal/burst"
)

const (
	// connectWait is how long a session may take to connect.
	connectWait = 15 * time.Second
	// gatherWait caps gathering: there are host candidates only.
	gatherWait = 2 * time.Second
	// disconnectedWait is how long nothing has come from a browser that counts as disconnected.
	disconnectedWait = 5 * time.Second
	// silentWait is how long a publisher may be silent until it is given up.
	silentWait = 15 * time.Second
	// stalledWait is the same for a viewer: a laptop that was closed for a moment goes on.
	stalledWait = 40 * time.Second
)

// PeerConfig for NewPeer.
type PeerConfig struct {
	Net    transport.Net // nil: the system's
	Codecs []webrtc.RTPCodecParameters
	// Receive adds what makes a browser send well: transport-wide congestion control and
	// receiver reports.
	Receive bool
}

// Peer is a PeerConnection with a browser: answers in one go, ends by itself when the
// connection fails or is closed from the other side.
type Peer struct {
	*webrtc.PeerConnection
	Connected chan struct{} // closed once connected
	// Path sends media past pion once it is Ready; nil for a peer that receives.
	Path *burst.Path

	done chan struct{}
	once sync.Once
	up   sync.Once
	wait *time.Timer

	mu    sync.Mutex // guards what follows
	offer string     // that is in force
	ufrag string
}

// NewPeer makes a Peer. Close it.
func NewPeer(cfg PeerConfig) (*Peer, error) {
	var path *burst.Path
	if !cfg.Receive {
		if cfg.Net == nil {
			n, err := stdnet.NewNet()
			if err != nil {
				return nil, fmt.Errorf("list network interfaces: %w", err)
			}
			cfg.Net = n
		}
		path = burst.New(cfg.Net, nil)
		cfg.Net = path
	}
	api, err := newAPI(cfg)
	if err != nil {
		return nil, err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	p := &Peer{PeerConnection: pc, Connected: make(chan struct{}), Path: path, done: make(chan struct{})}
	p.wait = time.AfterFunc(connectWait, p.Finish)
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			p.wait.Stop()
			p.up.Do(func() {
				if path != nil {
					client := strings.Contains(pc.LocalDescription().SDP, "a=setup:active")
					_ = path.Start(pc, client) // else it is not Ready, and pion sends
				}
				close(p.Connected)
			})
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			p.Finish()
		}
	})
	return p, nil
}

func newAPI(cfg PeerConfig) (*webrtc.API, error) {
	m, ir := &webrtc.MediaEngine{}, &interceptor.Registry{}
	for _, c := range cfg.Codecs {
		kind := webrtc.RTPCodecTypeVideo
		c.RTCPFeedback = nil
		if strings.HasPrefix(c.MimeType, "audio/") {
			kind = webrtc.RTPCodecTypeAudio
		}
		if err := m.RegisterCodec(c, kind); err != nil {
			return nil, err
		}
	}
	var err error
	if cfg.Receive {
		// A browser's packet that is asked for again within 20 ms still makes its frame.
		err = webrtc.ConfigureNackWithOptions(m, ir, []nack.GeneratorOption{nack.GeneratorInterval(20 * time.Millisecond)})
	} else { // whoever sends reads the requests
		m.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBNACK}, webrtc.RTPCodecTypeVideo)
		m.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBNACK, Parameter: "pli"}, webrtc.RTPCodecTypeVideo)
	}
	if err == nil && cfg.Receive {
		err = webrtc.ConfigureRTCPReports(ir)
	}
	if err == nil && cfg.Receive {
		err = webrtc.ConfigureTWCCSender(m, ir)
	}
	if err == nil && cfg.Receive {
		err = webrtc.ConfigureSimulcastExtensionHeaders(m)
	}
	if err != nil {
		return nil, err
	}
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetHostAcceptanceMinWait(0)
	s.SetPrflxAcceptanceMinWait(0) // a browser hides its addresses, so it is found as prflx
	patience := stalledWait
	if cfg.Receive {
		patience = silentWait
	}
	s.SetICETimeouts(disconnectedWait, patience-disconnectedWait, 2*time.Second)
	s.SetDTLSInsecureSkipHelloVerify(true)
	// GCM costs a seventh of what CM with SHA-1 costs; the latter is for old browsers.
	s.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	s.SetDTLSRetransmissionInterval(100 * time.Millisecond)
	s.DisableActiveTCP(true)
	if cfg.Net != nil {
		s.SetNet(cfg.Net)
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(ir), webrtc.WithSettingEngine(s)), nil
}

// Offered sets the offer.
func (p *Peer) Offered(offer *Offer) error {
	if err := p.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.SDP}); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offer, p.ufrag = offer.SDP, attribute(offer.SDP, "ice-ufrag")
	return nil
}

// RemoteUfrag is the user fragment of the ICE session that is on.
func (p *Peer) RemoteUfrag() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ufrag
}

// Answer makes the answer, with every candidate in it.
func (p *Peer) Answer(ctx context.Context) (string, error) {
	answer, err := p.CreateAnswer(nil)
	if err != nil { // the offer was parsed, and cannot be answered
		return "", Errorf(http.StatusBadRequest, "bad offer: %w", err)
	}
	gathered := webrtc.GatheringCompletePromise(p.PeerConnection)
	if err := p.SetLocalDescription(answer); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, gatherWait)
	defer cancel()
	select {
	case <-gathered:
	case <-ctx.Done():
		return "", fmt.Errorf("find local addresses: %w", ctx.Err())
	}
	return p.LocalDescription().SDP, nil
}

// Patch takes a trickle fragment. A restart is the old offer with the fragment's
// credentials, since nothing else may change (RFC 9725, section 4.3.3).
func (p *Peer) Patch(ctx context.Context, text string, restart bool) (string, error) {
	f, err := parseFragment(text)
	if err != nil {
		return "", err
	}
	if !restart {
		return "", p.add(f)
	}
	if f.ufrag == "" || f.pwd == "" {
		return "", errors.New("a restart needs ice-ufrag and ice-pwd")
	}
	if f.ufrag == p.RemoteUfrag() {
		return "", errors.New("a restart needs another ice-ufrag")
	}
	p.mu.Lock()
	offer := p.offer
	p.mu.Unlock()
	if err := p.Offered(&Offer{SDP: f.into(offer)}); err != nil {
		return "", err
	}
	answer, err := p.Answer(ctx)
	if err != nil {
		return "", err
	}
	return answerFragment(answer), p.add(f)
}

func (p *Peer) add(f fragment) error {
	for _, c := range f.candidates {
		if err := p.AddICECandidate(c); err != nil {
			return err
		}
	}
	return nil
}

// Done is closed when the connection is over.
func (p *Peer) Done() <-chan struct{} { return p.done }

// Finish says that the session is over; Close does the work.
func (p *Peer) Finish() { p.once.Do(func() { close(p.done) }) }

// Close closes the connection.
func (p *Peer) Close() error {
	p.wait.Stop()
	p.Finish()
	return p.PeerConnection.Close()
}
