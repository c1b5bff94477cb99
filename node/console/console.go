// Package console is the node's page and HTTP interface: watch and publish in a
// browser, the status document, metrics, health. It owns the HTTP server and who may
// speak to it; what a node does, it learns through Backend.
package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/watergy/waterfall/node"
)

// Backend is the node behind the console; *node.Node is one.
type Backend interface {
	Status() node.Status
	// Charts pictures the trees of the node's streams.
	Charts() []node.StreamChart
	// WHIP and WHEP serve everything at and below /whip/{room} and /whep/{room}.
	WHIP(room string) (http.Handler, error)
	WHEP(room string) (http.Handler, error)
	// Healthy is nil while the node does its job.
	Healthy() error
}

// Config for a Server.
type Config struct {
	// Listener is where to serve; the Server closes it.
	Listener net.Listener
	// Token is what WHIP, the API and the metrics ask for as a bearer (RFC 6750);
	// empty: nothing, which New allows on a loopback address only.
	Token string
	// Profiles serves Go's profiles at /debug/pprof/, behind the token.
	Profiles bool
	// What the page may change; nil: not offered.
	Rooms      Rooms
	Recorder   Recorder
	Recordings Recordings
	Consent    Consent
	Log        *slog.Logger
}

// ErrTokenNeeded is that the console would be open to other machines.
var ErrTokenNeeded = errors.New("a console beyond loopback needs a token (hint: put a secret in a file and name it with --token-file FILE)")

// Server is a running console.
type Server struct {
	node   Backend
	token  string
	own    guard
	log    *slog.Logger
	http   *http.Server
	done   chan struct{} // closed when Serve has returned
	cancel context.CancelFunc
	feeds  chan struct{} // a slot for each open event feed
}

// maxFeeds bounds the open event feeds; each looks at the status four times a second.
const maxFeeds = 16

// New serves a console for n until Close.
func New(n Backend, cfg Config) (*Server, error) {
	addr, err := netip.ParseAddrPort(cfg.Listener.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("console address: %w", err)
	}
	html, policy, err := pageAndPolicy()
	if err != nil {
		return nil, fmt.Errorf("console page: %w", err)
	}
	own := guard{addr: netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port()), policy: policy}
	if cfg.Token == "" && !own.loopback() {
		return nil, ErrTokenNeeded
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		node: n, token: cfg.Token, own: own, log: cfg.Log,
		done: make(chan struct{}), cancel: cancel, feeds: make(chan struct{}, maxFeeds),
	}
	h, err := s.handler(cfg, html)
	if err != nil {
		return nil, fmt.Errorf("console page: %w", err)
	}
	s.http = &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(cfg.Listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the console has stopped", "err", err)
		}
	}()
	return s, nil
}

// URL is where a person on this machine opens the page.
func (s *Server) URL() string { return "http://" + s.own.shown() + "/" }

// closeTime is how long Close lets requests finish that its cancelled context has told to.
const closeTime = 500 * time.Millisecond

// Close ends every request and the server.
func (s *Server) Close() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.done
	return err
}

func (s *Server) handler(cfg Config, html []byte) (http.Handler, error) {
	mux := http.NewServeMux()
	if err := page(mux, html); err != nil {
		return nil, err
	}
	s.rooms(mux, cfg)
	if cfg.Profiles {
		mux.Handle("GET /debug/pprof/", s.withToken(http.HandlerFunc(pprof.Index)))
		mux.Handle("GET /debug/pprof/profile", s.withToken(http.HandlerFunc(pprof.Profile)))
		mux.Handle("GET /debug/pprof/trace", s.withToken(http.HandlerFunc(pprof.Trace)))
	}
	mux.Handle("/whip/{room}", s.withToken(s.media(s.node.WHIP)))
	mux.Handle("/whip/{room}/", s.withToken(s.media(s.node.WHIP)))
	mux.Handle("/whep/{room}", s.media(s.node.WHEP))
	mux.Handle("/whep/{room}/", s.media(s.node.WHEP))
	mux.Handle("GET /api/v1/status", s.withToken(http.HandlerFunc(s.status)))
	mux.Handle("GET /api/v1/events", s.withToken(http.HandlerFunc(s.events)))
	mux.Handle("GET /api/v1/tree", s.withToken(http.HandlerFunc(s.tree)))
	mux.Handle("GET /api/v1/rooms/{room}/qr.svg", s.withToken(http.HandlerFunc(s.qrCode)))
	mux.Handle("GET /metrics", s.withToken(s.metrics()))
	mux.HandleFunc("GET /healthz", s.healthz)
	return s.own.only(mux), nil
}

// media hands a request to the node's WHIP or WHEP of the room it names.
func (s *Server) media(find func(room string) (http.Handler, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, err := find(r.PathValue("room"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := s.node.Healthy(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
