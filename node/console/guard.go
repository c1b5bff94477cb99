package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// guard keeps other sites out: a browser sends them here under their own name (DNS
// rebinding) or with their own Origin.
type guard struct {
	addr   netip.AddrPort // as bound
	policy string         // Content-Security-Policy
}

func (g guard) loopback() bool { return g.addr.Addr().IsLoopback() }

// shown is the address as a person on this machine types it.
func (g guard) shown() string {
	if !g.addr.Addr().IsUnspecified() {
		return g.addr.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(g.addr.Port())))
}

// ownHost says whether host (as in the Host header) is the console's own. On loopback
// the port must be ours too; beyond it, port mappings (docker) change the port, and an
// address instead of a name already rules rebinding out.
func (g guard) ownHost(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "80"
	}
	if g.loopback() && port != strconv.Itoa(int(g.addr.Port())) {
		return false
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	return ip.IsLoopback() || !g.loopback()
}

// ownOrigin says whether an Origin header is that of a page of ours, asked under host.
func ownOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, host)
}

// only lets h see the requests that are meant for it, and sets the headers that every
// response has.
func (g guard) only(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hd := w.Header()
		hd.Set("X-Content-Type-Options", "nosniff")
		hd.Set("Referrer-Policy", "no-referrer")
		hd.Set("Cross-Origin-Resource-Policy", "same-origin")
		hd.Set("Content-Security-Policy", g.policy)
		if !g.ownHost(r.Host) {
			http.Error(w, "this console answers under its own address only (hint: open http://"+g.shown()+"/)", http.StatusForbidden)
			return
		}
		if origins := r.Header.Values("Origin"); len(origins) > 1 || len(origins) == 1 && !ownOrigin(origins[0], r.Host) {
			http.Error(w, "requests from other sites are refused", http.StatusForbidden)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); !reads(r.Method) && site != "" && site != "same-origin" && site != "none" {
			http.Error(w, "requests from other sites are refused", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// reads says whether a method changes nothing (RFC 9110, section 9.2.1).
func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// withToken asks for the bearer token, if there is one.
func (s *Server) withToken(h http.Handler) http.Handler {
	if s.token == "" {
		return h
	}
	// Hashing first makes the comparison's time say nothing about the length either.
	want := sha256.Sum256([]byte(s.token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions { // says only what may be sent; browsers ask it without the token
			h.ServeHTTP(w, r)
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="wfnode"`)
			http.Error(w, "the console's token is needed (hint: Authorization: Bearer TOKEN)", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}
