package mediatest

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// Malformed are ways to break the offer of a PeerConnection.
func Malformed(offer string) map[string]string {
	line := func(prefix, with string) string {
		return regexp.MustCompile(`(?m)^`+prefix+`.*\r$`).ReplaceAllLiteralString(offer, with)
	}
	media := offer[strings.Index(offer, "m="):]
	return map[string]string{
		"half of it":                  offer[:len(offer)/2],
		"cut in a line":               offer[:strings.Index(offer, "a=fingerprint")+20],
		"no version":                  strings.TrimPrefix(offer, "v=0\r\n"),
		"NUL bytes":                   strings.ReplaceAll(offer, "\r\n", "\x00\r\n"),
		"not UTF-8":                   strings.ReplaceAll(offer, "a=mid:", "a=mid:\xff\xfe"),
		"lines that never end":        strings.ReplaceAll(offer, "\r\n", " "),
		"no ICE user":                 line("a=ice-ufrag:", "a=x\r"),
		"no ICE password":             line("a=ice-pwd:", "a=x\r"),
		"short ICE password":          line("a=ice-pwd:", "a=ice-pwd:a\r"),
		"no fingerprint":              line("a=fingerprint:", "a=x\r"),
		"fingerprint of no hash":      line("a=fingerprint:", "a=fingerprint:sha-0 00:11\r"),
		"fingerprint without a value": line("a=fingerprint:", "a=fingerprint:\r"),
		"setup of no kind":            line("a=setup:", "a=setup:sideways\r"),
		"no mids":                     line("a=mid:", "a=x\r"),
		"one mid for all":             line("a=mid:", "a=mid:0\r"),
		"group of nobody":             line("a=group:", "a=group:BUNDLE 7 8 9\r"),
		"port out of range":           strings.ReplaceAll(offer, " 9 UDP", " 99999 UDP"),
		"negative port":               strings.ReplaceAll(offer, " 9 UDP", " -9 UDP"),
		"format out of range":         regexp.MustCompile(`a=rtpmap:\d+`).ReplaceAllString(offer, "a=rtpmap:4294967296"),
		"clock of no number":          regexp.MustCompile(`/(90000|48000)`).ReplaceAllString(offer, "/-1"),
		"SSRC out of range":           offer + "a=ssrc:99999999999 cname:x\r\n",
		"candidate of no address":     line("a=candidate:", "a=candidate:1 1 udp 1 999.1.1.1 70000 typ host\r"),
		"candidate without an end":    line("a=candidate:", "a=candidate:1 1 udp"),
		"extension out of range":      line("a=extmap:", "a=extmap:70000 urn:x\r"),
		"50 media sections":           offer + strings.Repeat(media, 25),
		"a kilobyte of mid":           line("a=mid:", "a=mid:"+strings.Repeat("x", 1<<10)+"\r"),
	}
}

// RefuseMalformed posts all of them. Each is refused with a message of one line and without
// blaming the server, or answered where what is broken does not matter; after them a good
// offer, made by another PeerConnection, is answered as ever.
func RefuseMalformed(t *testing.T, srv *httptest.Server, path, broken, good string) {
	t.Helper()
	refused := 0
	for name, text := range Malformed(broken) {
		if text == broken {
			t.Errorf("%s: nothing is broken in %q", name, broken)
		}
		res, body := Do(t, http.MethodPost, srv.URL+path, "application/sdp", text)
		switch {
		case res.StatusCode == http.StatusCreated:
			if res, _ := Do(t, http.MethodDelete, srv.URL+res.Header.Get("Location"), "", ""); res.StatusCode != http.StatusOK {
				t.Errorf("%s: the session ends with %s", name, res.Status)
			}
		case res.StatusCode < 400 || res.StatusCode >= 500 || strings.Count(body, "\n") != 1:
			t.Errorf("%s: %s: %q", name, res.Status, body)
		default:
			refused++
		}
	}
	if refused < 12 {
		t.Errorf("only %d are refused", refused)
	}
	if res, body := Do(t, http.MethodPost, srv.URL+path, "application/sdp", good); res.StatusCode != http.StatusCreated {
		t.Errorf("then a good offer: %s: %s", res.Status, body)
	}
}
