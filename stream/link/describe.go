package link

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// Candidate is one address where a node may be reached.
type Candidate struct {
	Addr    netip.AddrPort
	Related bool // server reflexive, learnt by STUN
}

// Description is one side of a link in place of SDP: each side rebuilds the SDP from
// a template, so no SDP from a stranger is ever parsed.
type Description struct {
	Ufrag, Pwd  string
	Fingerprint [32]byte // SHA-256 of the DTLS certificate
	// SCTP is the initiate tag and the initial TSN of the data channel's association,
	// which saves it two round trips; zero: it is set up in band.
	SCTP       [8]byte
	Candidates []Candidate // ≤ 8
}

// ErrDescription wraps what is wrong with a description.
var ErrDescription = errors.New("bad link description")

const (
	maxCandidates = 8
	// RFC 8445 section 5.3 asks for at least 24 and 128 bits of randomness; the upper
	// bounds are ours.
	minUfrag, maxUfrag = 4, 32
	minPwd, maxPwd     = 22, 64

	candidateV6      = 0x01
	candidateRelated = 0x02
)

// Append encodes d (docs/protocol-link.md, "Link description").
//
//	length (1) ICE user · length (1) ICE password · fingerprint (32) · SCTP (8)
//	number of candidates (1), then for each:
//	flags (1: 0x01 IPv6, 0x02 server reflexive) address (4 or 16) port (2)
func (d Description) Append(b []byte) []byte {
	b = append(append(b, byte(len(d.Ufrag))), d.Ufrag...)
	b = append(append(b, byte(len(d.Pwd))), d.Pwd...)
	b = append(b, d.Fingerprint[:]...)
	b = append(b, d.SCTP[:]...)
	cs := d.Candidates[:min(len(d.Candidates), maxCandidates)]
	b = append(b, byte(len(cs)))
	for _, c := range cs {
		addr := c.Addr.Addr().Unmap()
		var flags byte
		if addr.Is6() {
			flags |= candidateV6
		}
		if c.Related {
			flags |= candidateRelated
		}
		b = append(append(b, flags), addr.AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, c.Addr.Port())
	}
	return b
}

// ParseDescription decodes d and returns what follows it. Bounded; never panics.
func ParseDescription(b []byte) (Description, []byte, error) {
	var d Description
	fail := func(what string) (Description, []byte, error) {
		return Description{}, nil, fmt.Errorf("%w: %s", ErrDescription, what)
	}
	var ok bool
	if d.Ufrag, b, ok = cutString(b); !ok || !iceChars(d.Ufrag, minUfrag, maxUfrag) {
		return fail("ICE user")
	}
	if d.Pwd, b, ok = cutString(b); !ok || !iceChars(d.Pwd, minPwd, maxPwd) {
		return fail("ICE password")
	}
	if len(b) < 41 {
		return fail("cut short")
	}
	copy(d.Fingerprint[:], b)
	copy(d.SCTP[:], b[32:])
	n := int(b[40])
	b = b[41:]
	if n > maxCandidates {
		return fail("too many candidates")
	}
	for range n {
		if len(b) < 7 {
			return fail("cut short")
		}
		size := 4
		if b[0]&candidateV6 != 0 {
			size = 16
		}
		if len(b) < 1+size+2 {
			return fail("cut short")
		}
		addr, _ := netip.AddrFromSlice(b[1 : 1+size])
		c := Candidate{
			Addr:    netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(b[1+size:])),
			Related: b[0]&candidateRelated != 0,
		}
		b = b[1+size+2:]
		if usable(c.Addr) {
			d.Candidates = append(d.Candidates, c)
		}
	}
	return d, b, nil
}

func cutString(b []byte) (string, []byte, bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}

// iceChars reports whether s is of ice-char (RFC 8839 section 5.4) and of that length.
func iceChars(s string, least, most int) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/') {
			return false
		}
	}
	return len(s) >= least && len(s) <= most
}

// usable reports whether an address can be one node's. A stranger must not make us
// send to groups.
func usable(a netip.AddrPort) bool {
	ip := a.Addr()
	return a.Port() != 0 && ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() &&
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// sctpInit is the SCTP INIT chunk that both sides imply (RFC 9260 section 3.3.2): window
// 1 MiB, 65,535 streams each way; supported chunks RE-CONFIG, FORWARD-TSN, I-DATA and
// I-FORWARD-TSN (RFC 5061 section 4.2.7); zero checksum over DTLS (RFC 9653). Only tag
// and TSN differ between links.
var sctpInit = [36]byte{
	0x01, 0, 0, 0x24, 4: 0, 8: 0, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff, 16: 0,
	20: 0x80, 0x08, 0, 0x08, 0x82, 0xc0, 0x40, 0xc2, 0x80, 0x01, 0, 0x08, 0, 0, 0, 0x01,
}

// sctpToken takes tag and TSN out of an INIT chunk; zero if it is not of our form.
func sctpToken(init []byte) (t [8]byte) {
	if len(init) != len(sctpInit) {
		return t
	}
	copy(t[:4], init[4:])
	copy(t[4:], init[16:])
	if [36]byte(init) != fullInit(t) {
		return [8]byte{}
	}
	return t
}

func fullInit(t [8]byte) [36]byte {
	b := sctpInit
	copy(b[4:], t[:4])
	copy(b[16:], t[4:])
	return b
}

// remoteSDP is the SDP that the other side of d would have sent.
func remoteSDP(t webrtc.SDPType, d Description) string {
	setup := "actpass"
	if t == webrtc.SDPTypeAnswer {
		setup = "active"
	}
	var s strings.Builder
	fmt.Fprintf(&s, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 %s\r\na=group:BUNDLE 0 1\r\n",
		hexColons(d.Fingerprint))
	ice := fmt.Sprintf("c=IN IP4 0.0.0.0\r\na=setup:%s\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\n", setup, d.Ufrag, d.Pwd)
	fmt.Fprintf(&s, "m=video 9 UDP/TLS/RTP/SAVPF %d\r\n%sa=mid:0\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:%d x-wf/%d\r\n",
		payloadType, ice, payloadType, clockRate)
	fmt.Fprintf(&s, "a=ssrc:%d cname:wf\r\na=msid:wf wf\r\na=sendrecv\r\n", ssrc)
	for i, c := range d.Candidates {
		// RFC 8445 section 5.1.2: type preference, then the order given, component 1.
		kind, rest, pref := "host", "", uint32(126)
		if c.Related {
			kind, rest, pref = "srflx", " raddr 0.0.0.0 rport 0", 100
		}
		fmt.Fprintf(&s, "a=candidate:%d 1 udp %d %s %d typ %s%s\r\n",
			i+1, pref<<24|uint32(65535-i)<<8|255, c.Addr.Addr(), c.Addr.Port(), kind, rest)
	}
	fmt.Fprintf(&s, "a=end-of-candidates\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n%sa=mid:1\r\na=sendrecv\r\n", ice)
	fmt.Fprintf(&s, "a=sctp-port:5000\r\na=max-message-size:%d\r\n", maxControl)
	if d.SCTP != [8]byte{} {
		init := fullInit(d.SCTP)
		fmt.Fprintf(&s, "a=sctp-init:%s\r\n", base64.StdEncoding.EncodeToString(init[:]))
	}
	return s.String()
}

// candidatesOf takes the candidates out of pion's own local SDP; the rest is known. Those of
// ports that a router has opened (Config.Outside) are added.
func candidatesOf(local string, outside func(port uint16) netip.AddrPort) ([]Candidate, error) {
	var s sdp.SessionDescription
	if err := s.UnmarshalString(local); err != nil {
		return nil, fmt.Errorf("read own candidates: %w", err)
	}
	var out []Candidate
	add := func(c Candidate) {
		if usable(c.Addr) && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	for _, m := range s.MediaDescriptions {
		for _, a := range m.Attributes {
			f := strings.Fields(a.Value)
			if a.Key != "candidate" || len(f) < 8 || f[1] != "1" {
				continue
			}
			addr, err := netip.ParseAddrPort(net.JoinHostPort(f[4], f[5]))
			if err != nil {
				continue
			}
			c := Candidate{
				Addr:    netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port()),
				Related: f[7] == "srflx",
			}
			add(c)
			if ip := c.Addr.Addr(); outside != nil && !c.Related && ip.Is4() && !ip.IsLoopback() {
				add(Candidate{Addr: outside(c.Addr.Port()), Related: true})
			}
		}
	}
	// What STUN learnt is the best chance across NATs; then IPv4 for its smaller size.
	slices.SortStableFunc(out, func(a, b Candidate) int { return rank(a) - rank(b) })
	return out[:min(len(out), maxCandidates)], nil
}

// hexColons writes a fingerprint as SDP does (RFC 8122 section 5).
func hexColons(f [32]byte) string {
	var s strings.Builder
	for i, b := range f {
		if i > 0 {
			s.WriteByte(':')
		}
		s.WriteString(strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	return s.String()
}

func rank(c Candidate) int {
	switch {
	case c.Related:
		return 0
	case c.Addr.Addr().Is4() && !c.Addr.Addr().IsLoopback():
		return 1
	case !c.Addr.Addr().IsLoopback():
		return 2
	}
	return 3
}
