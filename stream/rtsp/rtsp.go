// Package rtsp serves RTSP on one address in both directions: programs publish into
// rooms (ffmpeg, GStreamer, OBS; see publish.go) and read streams (VLC, mpv, ffplay; see
// read.go), over TCP and UDP. It is glue between gortsplib, ingest and playback, and
// knows neither rooms nor trees: the caller says what a path means.
package rtsp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"

	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/playback"
)

const (
	// writeQueue holds a reader's packets until its socket takes them (a power of two); a
	// group of 4 s at 8 Mbit/s fits, so that a reader can be given the last one at once.
	writeQueue = 4096
	// patience is how long a reader's socket may take nothing before the reader is given up:
	// somebody who holds a player for a moment goes on where the stream is then.
	patience = 40 * time.Second
	// silence ends a publisher that sends nothing.
	silence = 5 * time.Second
	// portTries bounds the search for two free UDP ports in a row.
	portTries = 64
)

// Config for Serve.
type Config struct {
	// Pick finds the stream to read at a path (without slashes around it) with a query;
	// playback.ErrNotLive if it has not begun.
	Pick func(path, query string) (playback.Source, error)
	// Target finds where a publisher at a path writes.
	Target func(path string) (ingest.Target, error)
	Seats  *playback.Seats // of readers; nil: 256 of its own
	Log    *slog.Logger
}

// Server is a running RTSP server.
type Server struct {
	cfg    Config
	srv    *gortsplib.Server
	ctx    context.Context // of Pick and Target.Open; ends with Close
	cancel context.CancelFunc

	mu         sync.Mutex
	publishers map[string]*publisher // by path, from ANNOUNCE on
}

// Serve begins to serve on l, which it owns from then on, and on a pair of free UDP
// ports of the same address.
func Serve(l net.Listener, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Seats == nil {
		cfg.Seats = playback.NewSeats(0)
	}
	s := &Server{cfg: cfg, publishers: map[string]*publisher{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	host, _, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ports, err := listenPair(host)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.srv = &gortsplib.Server{
		Handler:                  (*handler)(s),
		RTSPAddress:              l.Addr().String(),
		UDPRTPAddress:            ports[0].LocalAddr().String(),
		UDPRTCPAddress:           ports[1].LocalAddr().String(),
		ReadTimeout:              silence,
		WriteTimeout:             patience,
		WriteQueueSize:           writeQueue,
		DisableRTCPSenderReports: true, // reader sends its own, which agree with each other
		Listen:                   func(string, string) (net.Listener, error) { return l, nil },
		ListenPacket: func(_, address string) (net.PacketConn, error) {
			for _, p := range ports {
				if p.LocalAddr().String() == address {
					return p, nil
				}
			}
			return nil, fmt.Errorf("%s was not opened", address)
		},
	}
	if err := s.srv.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("serve RTSP: %w", err), l.Close(), ports[0].Close(), ports[1].Close())
	}
	return s, nil
}

// Addr is the address served.
func (s *Server) Addr() net.Addr { return s.srv.NetListener().Addr() }

// Close ends every session and waits for it.
func (s *Server) Close() error {
	s.cancel()
	s.srv.Close()
	return nil
}

// listenPair opens an even UDP port and the next one (RFC 3550, section 11).
func listenPair(host string) ([2]net.PacketConn, error) {
	var pair [2]net.PacketConn
	var last error
	for range portTries {
		first, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
		if err != nil {
			return pair, fmt.Errorf("open UDP ports for RTSP: %w", err)
		}
		port := first.LocalAddr().(*net.UDPAddr).Port
		other := port ^ 1
		second, err := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(other)))
		if err != nil {
			last = errors.Join(err, first.Close())
			continue
		}
		if port < other {
			return [2]net.PacketConn{first, second}, nil
		}
		return [2]net.PacketConn{second, first}, nil
	}
	return pair, fmt.Errorf("open UDP ports for RTSP: %w", last)
}

// handler is the Server as gortsplib sees it.
type handler Server

func (h *handler) server() *Server { return (*Server)(h) }

// session is what a session's user data holds: a publisher or a reader.
type session interface{ close() error }

func (h *handler) OnSessionClose(c *gortsplib.ServerHandlerOnSessionCloseCtx) {
	if s, ok := c.Session.UserData().(session); ok {
		if err := s.close(); err != nil {
			h.cfg.Log.Debug("RTSP session ended", "err", err)
		}
	}
}

// Losses are counted by the stream itself; these keep gortsplib from printing them.

func (h *handler) OnPacketsLost(*gortsplib.ServerHandlerOnPacketsLostCtx)           {}
func (h *handler) OnDecodeError(*gortsplib.ServerHandlerOnDecodeErrorCtx)           {}
func (h *handler) OnStreamWriteError(*gortsplib.ServerHandlerOnStreamWriteErrorCtx) {}

// done says yes. gortsplib adds its headers to the answer, so each is a new one.
func done() *base.Response { return &base.Response{StatusCode: base.StatusOK} }

// refuse says no in words: ffmpeg shows the reason to its user.
func (h *handler) refuse(code base.StatusCode, who, path string, err error) *base.Response {
	level := slog.LevelWarn
	if errors.Is(err, playback.ErrNotLive) {
		level = slog.LevelInfo // players ask again and again
	}
	h.cfg.Log.Log(h.ctx, level, who+" turned away", "path", path, "err", err)
	reason := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, err.Error())
	return &base.Response{StatusCode: code, StatusMessage: reason}
}

func trim(path string) string { return strings.Trim(path, "/") }
