package link

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream/internal/burst"
)

// What both sides of a link know without saying it.
const (
	mimeType    = "video/x-wf"
	payloadType = 96
	clockRate   = 90000
	ssrc        = 1 // each direction has SRTP keys of its own
	channelID   = 0

	stunTimeout = 300 * time.Millisecond
	gatherCap   = stunTimeout + 100*time.Millisecond

	rtpHeaderSize = 12
	readSize      = 1500
)

// newMediaEngine knows the private codec only.
func newMediaEngine() (*webrtc.MediaEngine, error) {
	m := &webrtc.MediaEngine{}
	err := m.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimeType, ClockRate: clockRate},
		PayloadType:        payloadType,
	}, webrtc.RTPCodecTypeVideo)
	if err != nil {
		return nil, fmt.Errorf("register the links' codec: %w", err)
	}
	return m, nil
}

// newCertificate makes the node's DTLS certificate. Its fingerprint travels in signed
// offers and answers, so its dates mean nothing: they only must not end a node that
// runs for years or whose clock is off.
func newCertificate() (*webrtc.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make DTLS certificate: %w", err)
	}
	now := time.Now()
	cert, err := webrtc.NewCertificate(key, x509.Certificate{
		Subject:      pkix.Name{CommonName: "WebRTC"},
		NotBefore:    now.AddDate(-1, 0, 0),
		NotAfter:     now.AddDate(50, 0, 0),
		SerialNumber: big.NewInt(1),
	})
	if err != nil {
		return nil, fmt.Errorf("make DTLS certificate: %w", err)
	}
	return cert, nil
}

// settings are pion's for one link (the figures are argued in docs/protocol-link.md).
func (l *Link) settings() (*webrtc.SettingEngine, error) {
	e := l.e
	s := &webrtc.SettingEngine{LoggerFactory: quiet{}}
	s.DisableMediaEngineCopy(true)
	s.DetachDataChannels() // readControl
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.DisableActiveTCP(true)
	s.DisableCloseByDTLS(true) // the end is down's: its close waits for pion's goroutines
	s.SetIncludeLoopbackCandidate(e.cfg.Loopback)
	s.SetHostAcceptanceMinWait(0)
	s.SetSrflxAcceptanceMinWait(50 * time.Millisecond)
	s.SetPrflxAcceptanceMinWait(50 * time.Millisecond)
	s.SetSTUNGatherTimeout(stunTimeout)
	s.SetICETimeouts(5*time.Second, 5*time.Second, 2*time.Second)
	// Checks go on, every 200 ms, for as long as connectTime and an answer's way may take.
	s.SetICEMaxBindingRequests(40)
	s.SetDTLSInsecureSkipHelloVerify(true)
	s.SetDTLSRetransmissionInterval(100 * time.Millisecond)
	s.EnableSctpSnap(true)
	s.EnableSCTPZeroChecksum(true)
	s.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM)
	s.SetSRTPReplayProtectionWindow(burst.ReplayWindow)
	s.SetFireOnTrackBeforeFirstRTP(true)
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleClient); err != nil {
		return nil, err
	}
	if e.cfg.PortMin > 0 {
		if err := s.SetEphemeralUDPPortRange(e.cfg.PortMin, e.cfg.PortMax); err != nil {
			return nil, fmt.Errorf("port range %d–%d: %w", e.cfg.PortMin, e.cfg.PortMax, err)
		}
	}
	s.SetICECredentials(l.ufrag, l.pwd)
	n, types := e.cfg.Net, []webrtc.NetworkType{webrtc.NetworkTypeUDP4}
	if n == nil {
		var err error
		if n, err = newBufferedNet(); err != nil {
			return nil, err
		}
		l.net = n
		types = append(types, webrtc.NetworkTypeUDP6)
	}
	l.path = burst.New(n, &receiver{l: l})
	s.SetNet(l.path)
	s.SetNetworkTypes(types)
	return s, nil
}

func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails
	return base64.StdEncoding.EncodeToString(b)
}

// connect makes the PeerConnection with its track and channel. All of pion's callbacks
// end here.
func (l *Link) connect() error {
	// 48 and 144 random bits; pion's own are twice as long, and an offer must be small.
	l.ufrag, l.pwd = randomText(6), randomText(18)
	s, err := l.settings()
	if err != nil {
		return err
	}
	api := webrtc.NewAPI(
		webrtc.WithMediaEngine(l.e.media),
		webrtc.WithSettingEngine(*s),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{}), // none: no NACK, no reports
	)
	cfg := webrtc.Configuration{
		BundlePolicy: webrtc.BundlePolicyMaxBundle,
		Certificates: []webrtc.Certificate{l.e.cert},
	}
	for _, addr := range l.e.cfg.STUN {
		cfg.ICEServers = append(cfg.ICEServers, webrtc.ICEServer{URLs: []string{"stun:" + addr}})
	}
	if l.pc, err = api.NewPeerConnection(cfg); err != nil {
		return err
	}
	if err := l.equip(); err != nil {
		return errors.Join(err, l.pc.GracefulClose())
	}
	return nil
}

func (l *Link) equip() error {
	_, err := l.pc.AddTransceiverFromTrack(l.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendrecv})
	if err != nil {
		return err
	}
	negotiated, id := true, uint16(channelID)
	l.dc, err = l.pc.CreateDataChannel("wf", &webrtc.DataChannelInit{Negotiated: &negotiated, ID: &id})
	if err != nil {
		return err
	}
	l.dc.SetBufferedAmountLowThreshold(controlAhead / 2)
	l.dc.OnBufferedAmountLow(func() {
		select {
		case l.drain <- struct{}{}:
		default:
		}
	})
	l.dc.OnOpen(func() { l.spawn(l.readControl) })
	l.dc.OnClose(func() { l.fail(errHungUp) })
	l.pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		l.spawn(func() { l.readMedia(t) })
	})
	l.pc.SCTP().Transport().ICETransport().OnSelectedCandidatePairChange(func(*webrtc.ICECandidatePair) {
		// The path learns from pion's own packets where to send.
		_ = l.pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: ssrc}}) // too early: DTLS will tell
	})
	l.pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			if err := l.path.Start(l.pc, l.answers()); err != nil { // its DTLS client (settings)
				l.e.log.Warn("media goes the slow way", "err", err)
			}
			l.mu.Lock()
			l.connected = true
			l.mu.Unlock()
			l.wake()
		case webrtc.PeerConnectionStateDisconnected, webrtc.PeerConnectionStateFailed:
			l.fail(errLost)
		case webrtc.PeerConnectionStateClosed:
			l.fail(errHungUp)
		}
	})
	return nil
}

// answers says whether this side answered the other's offer.
func (l *Link) answers() bool {
	d := l.pc.LocalDescription()
	return d != nil && d.Type == webrtc.SDPTypeAnswer
}

// offer makes the local side of an offering link.
func (l *Link) offer(ctx context.Context) (Description, error) {
	sd, err := l.pc.CreateOffer(nil)
	if err != nil {
		return Description{}, err
	}
	return l.setLocal(ctx, sd)
}

// answer makes the local side of a link that d offers.
func (l *Link) answer(ctx context.Context, d Description) (Description, error) {
	if err := l.setRemote(webrtc.SDPTypeOffer, d); err != nil {
		return Description{}, err
	}
	sd, err := l.pc.CreateAnswer(nil)
	if err != nil {
		return Description{}, err
	}
	return l.setLocal(ctx, sd)
}

func (l *Link) setRemote(t webrtc.SDPType, d Description) error {
	// Whoever made d, nothing but what ParseDescription lets through gets into SDP.
	d, _, err := ParseDescription(d.Append(nil))
	if err != nil {
		return err
	}
	return l.pc.SetRemoteDescription(webrtc.SessionDescription{Type: t, SDP: remoteSDP(t, d)})
}

func (l *Link) setLocal(ctx context.Context, sd webrtc.SessionDescription) (Description, error) {
	gathered := webrtc.GatheringCompletePromise(l.pc)
	if err := l.pc.SetLocalDescription(sd); err != nil {
		return Description{}, err
	}
	// pion bounds the wait for a STUN server's answer, but not for its name.
	enough := time.NewTimer(gatherCap)
	defer enough.Stop()
	select {
	case <-gathered:
	case <-enough.C:
	case <-l.dying:
		return Description{}, ErrClosed
	case <-ctx.Done():
		return Description{}, ctx.Err()
	}
	cs, err := candidatesOf(l.pc.LocalDescription().SDP, l.e.cfg.Outside)
	if err != nil {
		return Description{}, err
	}
	if len(cs) == 0 {
		return Description{}, errors.New("this machine has no usable network address (hint: is it online?)")
	}
	return Description{
		Ufrag: l.ufrag, Pwd: l.pwd,
		Fingerprint: l.e.print,
		SCTP:        sctpToken(l.pc.SCTP().GetSctpInit()),
		Candidates:  cs,
	}, nil
}

// fingerprint is the SHA-256 of a certificate's DER form.
func fingerprint(c *webrtc.Certificate) ([32]byte, error) {
	prints, err := c.GetFingerprints()
	if err != nil || len(prints) == 0 {
		return [32]byte{}, fmt.Errorf("fingerprint of DTLS certificate: %w", err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(prints[0].Value, ":", ""))
	if err != nil || len(b) != 32 || prints[0].Algorithm != "sha-256" {
		return [32]byte{}, fmt.Errorf("fingerprint of DTLS certificate: unexpected form %q", prints[0].Value)
	}
	return [32]byte(b), nil
}

// outTrack is the sending end of a link's RTP stream for pion, which sends only what goes
// out before the path has taken over.
type outTrack struct {
	writer atomic.Pointer[webrtc.TrackLocalWriter]
}

func (t *outTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	w := c.WriteStream()
	t.writer.Store(&w)
	return webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimeType, ClockRate: clockRate},
		PayloadType:        payloadType,
	}, nil
}

func (t *outTrack) Unbind(webrtc.TrackLocalContext) error {
	t.writer.Store(nil)
	return nil
}

func (t *outTrack) ID() string                { return "wf" }
func (t *outTrack) RID() string               { return "" }
func (t *outTrack) StreamID() string          { return "wf" }
func (t *outTrack) Kind() webrtc.RTPCodecType { return webrtc.RTPCodecTypeVideo }

// sendBatch sends payloads as the next packets of the hop, in one burst. It waits for
// room in the socket's buffer if told to; false: there was none, and some were lost, as
// on any network.
func (l *Link) sendBatch(wait bool, payloads ...[]byte) bool {
	l.sendMu.Lock()
	defer l.sendMu.Unlock()
	if !l.path.Ready() {
		l.sendSlow(payloads)
		return true
	}
	l.path.Begin(wait)
	clock := clockOf(time.Now())
	for _, p := range payloads {
		l.path.Add(burst.Head{Type: payloadType, SSRC: ssrc, Seq: l.seq, Time: clock}, p)
		l.seq++
	}
	return l.path.Flush()
}

// sendSlow sends through pion. Caller holds sendMu.
func (l *Link) sendSlow(payloads [][]byte) {
	w := l.track.writer.Load()
	if w == nil {
		return
	}
	for _, p := range payloads {
		h := rtp.Header{Version: 2, PayloadType: payloadType, SSRC: ssrc, SequenceNumber: l.seq, Timestamp: clockOf(time.Now())}
		if n, _ := (*w).WriteRTP(&h, p); n > 0 { //nolint:errcheck // see sendBatch
			l.seq++
		}
	}
}

// readMedia takes the packets that pion reads: those before the path has taken over.
func (l *Link) readMedia(t *webrtc.TrackRemote) {
	buf := make([]byte, readSize)
	for {
		n, _, err := t.Read(buf)
		if err != nil {
			return
		}
		l.path.Deliver(buf[:n], time.Now())
	}
}
