// Package wish is what WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) have in common:
// the HTTP half (an offer is posted, its session is patched and deleted), the reading of
// offers, and a PeerConnection that answers with all its candidates.
package wish

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxBody      = 64 << 10 // of an offer or of a candidate fragment
	typeSDP      = "application/sdp"
	typeFragment = "application/trickle-ice-sdpfrag"
)

// Error is a refusal with its HTTP status.
type Error struct {
	Status int
	Retry  time.Duration // > 0: sent as Retry-After
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Err: fmt.Errorf(format, args...)}
}

// Session is what an offer led to.
type Session interface {
	// Patch takes a trickle fragment (RFC 8840): candidates; with restart, new credentials
	// that are answered with a fragment of ours.
	Patch(ctx context.Context, fragment string, restart bool) (answer string, err error)
	// RemoteUfrag is the user fragment of the ICE session that is on.
	RemoteUfrag() string
	Done() <-chan struct{} // closed when the session is over by itself
	Close() error          // ends it and waits for its goroutines
}

// Endpoint serves POST at its base and PATCH and DELETE on the sessions below.
type Endpoint struct {
	Base string // path of sessions, without a slash at the end
	Log  *slog.Logger
	// Open answers an offer. An *Error says which status to refuse it with.
	Open func(r *http.Request, offer *Offer) (Session, string, error)

	mu       sync.Mutex // guards what follows
	sessions map[string]*tagged
	closed   bool
	wg       sync.WaitGroup // of requests being opened and of watchers
}

// tagged is a session with the entity tag of its ICE session (RFC 9725, section 4.3.1).
type tagged struct {
	Session
	patching sync.Mutex // held by the PATCH that is served
	etag     string     // guarded by Endpoint.mu
}

func newTag() string { return strconv.Quote(rand.Text()) }

func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own := strings.HasPrefix(r.URL.Path, e.Base+"/") // of a session
	h := w.Header()
	if o := r.Header.Get("Origin"); o != "" && sameHost(o, r.Host) {
		h.Set("Access-Control-Allow-Origin", o)
		h.Set("Access-Control-Expose-Headers", "Location, ETag, Accept-Patch")
		h.Add("Vary", "Origin")
	}
	var err error
	switch {
	case r.Method == http.MethodPost && !own:
		err = e.post(w, r)
	case r.Method == http.MethodPatch && own:
		err = e.patch(w, r)
	case r.Method == http.MethodDelete && own:
		err = e.delete(w, r)
	case r.Method == http.MethodOptions:
		e.options(w, own)
	case own:
		h.Set("Allow", "PATCH, DELETE, OPTIONS")
		err = Errorf(http.StatusMethodNotAllowed, "PATCH or DELETE this session; POST an offer one level up")
	default:
		h.Set("Allow", "POST, OPTIONS")
		err = Errorf(http.StatusMethodNotAllowed, "POST an offer (%s) here", typeSDP)
	}
	if err != nil {
		refuse(w, err)
	}
}

// sameHost says whether an origin is that of the page which is served under host.
func sameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, host)
}

// options says what may be sent: RFC 9725, sections 4.2 and 4.3, and to browsers that ask
// before they send.
func (e *Endpoint) options(w http.ResponseWriter, own bool) {
	h, methods := w.Header(), "POST, OPTIONS"
	if own {
		methods = "PATCH, DELETE, OPTIONS"
		h.Set("Accept-Patch", typeFragment)
	} else {
		h.Set("Accept-Post", typeSDP)
	}
	h.Set("Allow", methods)
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
		h.Set("Access-Control-Max-Age", "86400")
	}
	w.WriteHeader(http.StatusOK)
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if e, ok := errors.AsType[*Error](err); ok {
		status = e.Status
		if e.Retry > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(e.Retry.Seconds()+0.5)))
		}
	}
	http.Error(w, strings.ReplaceAll(err.Error(), "\n", "; "), status)
}

// body reads a request's body of the wanted type.
func body(w http.ResponseWriter, r *http.Request, want string) (string, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != want {
		return "", Errorf(http.StatusUnsupportedMediaType, "the body must be %s", want)
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "", Errorf(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", maxBody)
	}
	if err != nil {
		return "", Errorf(http.StatusBadRequest, "read the body: %w", err)
	}
	return string(b), nil
}

func (e *Endpoint) post(w http.ResponseWriter, r *http.Request) error {
	text, err := body(w, r, typeSDP)
	if err != nil {
		return err
	}
	offer, err := ParseOffer(text)
	if err != nil {
		return Errorf(http.StatusBadRequest, "bad offer: %w", err)
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return Errorf(http.StatusServiceUnavailable, "the node is stopping")
	}
	e.wg.Add(1) // Close waits until this session is known, and closes it
	e.mu.Unlock()
	defer e.wg.Done()

	s, answer, err := e.Open(r, offer)
	if err != nil {
		return err
	}
	id := rand.Text()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return errors.Join(Errorf(http.StatusServiceUnavailable, "the node is stopping"), s.Close())
	}
	if e.sessions == nil {
		e.sessions = map[string]*tagged{}
	}
	etag := newTag()
	e.sessions[id] = &tagged{Session: s, etag: etag}
	e.wg.Add(1)
	e.mu.Unlock()
	go func() {
		defer e.wg.Done()
		<-s.Done()
		if err := e.end(id); err != nil {
			e.Log.Debug("session ended", "err", err)
		}
	}()

	h := w.Header()
	h.Set("Content-Type", typeSDP)
	h.Set("Location", e.Base+"/"+id)
	h.Set("ETag", etag)
	h.Set("Accept-Patch", typeFragment)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer)
	return nil
}

func (e *Endpoint) patch(w http.ResponseWriter, r *http.Request) error {
	fragment, err := body(w, r, typeFragment)
	if err != nil {
		return err
	}
	s := e.find(r)
	if s == nil {
		return Errorf(http.StatusNotFound, "no such session")
	}
	s.patching.Lock()
	defer s.patching.Unlock()
	restart, err := e.precondition(s, r.Header.Values("If-Match"), fragment)
	if err != nil {
		return err
	}
	answer, err := s.Patch(r.Context(), fragment, restart)
	if err != nil {
		return Errorf(http.StatusBadRequest, "bad fragment: %w", err)
	}
	if !restart {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	etag := newTag()
	e.mu.Lock()
	s.etag = etag
	e.mu.Unlock()
	w.Header().Set("Content-Type", typeFragment)
	w.Header().Set("ETag", etag)
	_, _ = io.WriteString(w, answer)
	return nil
}

// precondition says whether a fragment restarts ICE (If-Match: *) or adds candidates to the
// ICE session of the given tag. RFC 9725 wants the header always; a fragment without it
// passes if it is plainly of the session that is on, since clients older than the RFC
// do not send it.
func (e *Endpoint) precondition(s *tagged, match []string, fragment string) (restart bool, err error) {
	e.mu.Lock()
	etag := s.etag
	e.mu.Unlock()
	switch ufrag := attribute(fragment, "ice-ufrag"); {
	case len(match) == 1 && strings.TrimSpace(match[0]) == "*":
		return true, nil
	case len(match) == 0 && (ufrag == "" || ufrag == s.RemoteUfrag()):
		return false, nil
	case len(match) == 0:
		return false, Errorf(http.StatusPreconditionRequired, "say If-Match: the session's ETag, or * to restart ICE")
	}
	for _, list := range match {
		for tag := range strings.SplitSeq(list, ",") {
			if strings.TrimSpace(tag) == etag {
				return false, nil
			}
		}
	}
	return false, Errorf(http.StatusPreconditionFailed, "ICE was restarted meanwhile: this is not the session's ETag")
}

func (e *Endpoint) delete(w http.ResponseWriter, r *http.Request) error {
	if e.find(r) == nil {
		return Errorf(http.StatusNotFound, "no such session")
	}
	if err := e.end(path.Base(r.URL.Path)); err != nil {
		e.Log.Debug("session ended", "err", err)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (e *Endpoint) find(r *http.Request) *tagged {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions[path.Base(r.URL.Path)]
}

// end closes a session once.
func (e *Endpoint) end(id string) error {
	e.mu.Lock()
	s := e.sessions[id]
	delete(e.sessions, id)
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.Close()
}

// Close ends every session and waits for them.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	all := e.sessions
	e.sessions = nil
	e.mu.Unlock()
	var errs []error
	for _, s := range all {
		errs = append(errs, s.Close())
	}
	e.wg.Wait()
	return errors.Join(errs...)
}
