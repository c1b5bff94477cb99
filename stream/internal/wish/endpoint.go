// Package wish is what WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) have in common:
// the HTTP half (an offer is posted, its session is patched and deleted), the reading of
// offers, and a PeerConnection that answers with all its candidates.
package wish

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
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
	AddCandidates(fragment string) error
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
	sessions map[string]Session
	closed   bool
	wg       sync.WaitGroup // of requests being opened and of watchers
}

func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.Method {
	case http.MethodPost:
		err = e.post(w, r)
	case http.MethodPatch:
		err = e.patch(w, r)
	case http.MethodDelete:
		err = e.delete(w, r)
	case http.MethodOptions:
		w.Header().Set("Accept-Post", typeSDP)
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", "POST, PATCH, DELETE, OPTIONS")
		err = Errorf(http.StatusMethodNotAllowed, "POST an offer (%s) here", typeSDP)
	}
	if err != nil {
		refuse(w, err)
	}
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
		e.sessions = map[string]Session{}
	}
	e.sessions[id] = s
	e.wg.Add(1)
	e.mu.Unlock()
	go func() {
		defer e.wg.Done()
		<-s.Done()
		if err := e.end(id); err != nil {
			e.Log.Debug("session ended", "err", err)
		}
	}()

	w.Header().Set("Content-Type", typeSDP)
	w.Header().Set("Location", e.Base+"/"+id)
	w.Header().Set("Access-Control-Expose-Headers", "Location")
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
	if err := s.AddCandidates(fragment); err != nil {
		return Errorf(http.StatusBadRequest, "bad candidate: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
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

func (e *Endpoint) find(r *http.Request) Session {
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
