package wish

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/pion/webrtc/v4"
)

// maxCandidates bounds one PATCH.
const maxCandidates = 64

// fragment is a part of an SDP that PATCH carries (RFC 8840, section 9).
type fragment struct {
	ufrag, pwd string
	candidates []webrtc.ICECandidateInit
}

// ufrag and pwd are written into an offer: RFC 8839, section 5.4 says what they may hold.
var iceChars = regexp.MustCompile(`^[A-Za-z0-9+/]{0,256}$`)

// parseFragment reads a trickle fragment; it never panics.
func parseFragment(text string) (fragment, error) {
	f := fragment{ufrag: attribute(text, "ice-ufrag"), pwd: attribute(text, "ice-pwd")}
	if !iceChars.MatchString(f.ufrag) || !iceChars.MatchString(f.pwd) {
		return f, errors.New("bad ICE credentials")
	}
	mid := "0"
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m, ok := strings.CutPrefix(line, "a=mid:"); ok {
			mid = m
		}
		if c, ok := strings.CutPrefix(line, "a=candidate:"); ok {
			if len(f.candidates) == maxCandidates {
				return f, errors.New("too many candidates")
			}
			at := mid
			f.candidates = append(f.candidates, webrtc.ICECandidateInit{Candidate: "candidate:" + c, SDPMid: &at})
		}
	}
	return f, nil
}

// attribute is the first value of an attribute in an SDP or a part of one.
func attribute(text, name string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "a="+name+":"); ok {
			return v
		}
	}
	return ""
}

// into puts the fragment's credentials into an offer, as its next version and without the
// candidates of before.
func (f fragment) into(offer string) string {
	var out strings.Builder
	for line := range strings.Lines(offer) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "a=candidate:"), line == "a=end-of-candidates":
			continue
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			line = "a=ice-ufrag:" + f.ufrag
		case strings.HasPrefix(line, "a=ice-pwd:"):
			line = "a=ice-pwd:" + f.pwd
		case strings.HasPrefix(line, "o="):
			line = nextVersion(line)
		}
		out.WriteString(line + "\r\n")
	}
	return out.String()
}

// nextVersion counts an origin line's version up (RFC 8866, section 5.2).
func nextVersion(origin string) string {
	words := strings.Split(origin, " ")
	if len(words) > 2 {
		if n, err := strconv.ParseUint(words[2], 10, 63); err == nil {
			words[2] = strconv.FormatUint(n+1, 10)
		}
	}
	return strings.Join(words, " ")
}

// answerFragment is what a restart is answered with: credentials, and the candidates of the
// first section, which all are bundled with.
func answerFragment(answer string) string {
	var head, body strings.Builder
	sections := 0
	for line := range strings.Lines(answer) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "m="):
			sections++
		case strings.HasPrefix(line, "a=mid:"), strings.HasPrefix(line, "a=candidate:"), line == "a=end-of-candidates":
		default:
			continue
		}
		if sections == 1 {
			body.WriteString(line + "\r\n")
		}
	}
	for _, name := range []string{"ice-ufrag", "ice-pwd"} {
		head.WriteString("a=" + name + ":" + attribute(answer, name) + "\r\n")
	}
	return head.String() + body.String()
}
