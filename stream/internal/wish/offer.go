package wish

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream/internal/avc"
)

// Offer is an SDP offer and the codecs in it.
type Offer struct {
	SDP    string
	Medias []Media
}

// Media is one audio or video section of an offer.
type Media struct {
	Kind   string // "audio" or "video"
	Codecs []webrtc.RTPCodecParameters
}

// maxSections bounds what one offer may ask for; browsers bundle far fewer.
const maxSections = 16

// ParseOffer reads an SDP offer; it never panics. What it cannot use it leaves out.
func ParseOffer(text string) (*Offer, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return nil, err
	}
	switch {
	case len(d.MediaDescriptions) == 0:
		return nil, errors.New("there is no media in it")
	case len(d.MediaDescriptions) > maxSections:
		return nil, fmt.Errorf("there are more than %d media sections in it", maxSections)
	}
	o := &Offer{SDP: text}
	bundled := false
	for _, m := range d.MediaDescriptions {
		kind := m.MediaName.Media
		if _, only := m.Attribute("bundle-only"); only && m.MediaName.Port.Value == 0 {
			m.MediaName.Port.Value, bundled = 9, true // not refused, but without a port of its own: RFC 9143, section 6
		}
		if (kind != "audio" && kind != "video") || m.MediaName.Port.Value == 0 {
			continue
		}
		o.Medias = append(o.Medias, Media{Kind: kind, Codecs: codecs(kind, m)})
	}
	if bundled {
		again, err := d.Marshal()
		if err != nil {
			return nil, err
		}
		o.SDP = string(again)
	}
	return o, nil
}

func codecs(kind string, m *sdp.MediaDescription) []webrtc.RTPCodecParameters {
	fmtps := map[string]string{}
	for _, a := range m.Attributes {
		if pt, f, ok := strings.Cut(a.Value, " "); ok && a.Key == "fmtp" {
			fmtps[pt] = strings.TrimSpace(f)
		}
	}
	var out []webrtc.RTPCodecParameters
	for _, a := range m.Attributes {
		pt, codec, ok := strings.Cut(a.Value, " ")
		n, err := strconv.ParseUint(pt, 10, 7)
		if a.Key != "rtpmap" || !ok || err != nil {
			continue
		}
		parts := strings.Split(strings.TrimSpace(codec), "/")
		if len(parts) < 2 {
			continue
		}
		rate, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil {
			continue
		}
		c := webrtc.RTPCodecParameters{PayloadType: webrtc.PayloadType(n)}
		c.MimeType, c.ClockRate, c.SDPFmtpLine = kind+"/"+parts[0], uint32(rate), fmtps[pt]
		if len(parts) > 2 {
			ch, err := strconv.ParseUint(parts[2], 10, 16)
			if err != nil {
				continue
			}
			c.Channels = uint16(ch)
		}
		out = append(out, c)
	}
	return out
}

// Count is how many sections of a kind there are.
func (o *Offer) Count(kind string) int {
	n := 0
	for _, m := range o.Medias {
		if m.Kind == kind {
			n++
		}
	}
	return n
}

// H264 finds the offered H.264 format (packetization mode 1) that suits best: the first
// of the profiles wished for (the first four digits of profile-level-id, in lower case),
// else the first there is.
func (o *Offer) H264(profiles ...string) (webrtc.RTPCodecParameters, bool) {
	var found webrtc.RTPCodecParameters
	best := len(profiles) + 1
	for c := range o.codecs(webrtc.MimeTypeH264) {
		if avc.Param(c.SDPFmtpLine, "packetization-mode") != "1" {
			continue
		}
		rank, id := len(profiles), strings.ToLower(avc.Param(c.SDPFmtpLine, "profile-level-id"))
		for i, p := range profiles {
			if rank == len(profiles) && strings.HasPrefix(id, p) {
				rank = i
			}
		}
		if rank < best {
			found, best = c, rank
		}
	}
	return found, best <= len(profiles)
}

// Find finds the offered format of a codec that says key=value in its parameters (a missing
// one counts as 0), whatever they say when key is empty.
func (o *Offer) Find(mime, key, value string) (webrtc.RTPCodecParameters, bool) {
	for c := range o.codecs(mime) {
		if key == "" || max(avc.Param(c.SDPFmtpLine, key), "0") == value {
			return c, true
		}
	}
	return webrtc.RTPCodecParameters{}, false
}

// Opus finds the offered Opus format.
func (o *Offer) Opus() (webrtc.RTPCodecParameters, bool) {
	for c := range o.codecs(webrtc.MimeTypeOpus) {
		return c, true
	}
	return webrtc.RTPCodecParameters{}, false
}

// codecs goes through the formats of one MIME type, in whatever case they are written.
func (o *Offer) codecs(mime string) func(yield func(webrtc.RTPCodecParameters) bool) {
	return func(yield func(webrtc.RTPCodecParameters) bool) {
		for _, m := range o.Medias {
			for _, c := range m.Codecs {
				if strings.EqualFold(c.MimeType, mime) && !yield(c) {
					return
				}
			}
		}
	}
}
