package link

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream"
)

// Config for an Engine.
type Config struct {
	STUN     []string // host:port; none: host candidates only. Gathering is capped at 300 ms
	PortMin  uint16   // UDP port range for links; 0: any
	PortMax  uint16
	Loopback bool // offer loopback candidates as well
	// Outside is where a UDP port of ours is reached from anywhere because a router has
	// opened it; the zero AddrPort: not known of that one. It must not block. nil: of none.
	Outside func(port uint16) netip.AddrPort
	Net     transport.Net // nil: the system's network
	Log     *slog.Logger
}

// EventKind says what happened on a link.
type EventKind uint8

const (
	Up      EventKind = iota + 1 // connected, control channel open
	Down                         // closed, failed, or never connected; the last event of a link
	Control                      // Data is a control message
	Flowing                      // first packet of Stream since Take, or since its last Silent or Starved
	Silent                       // neither media nor heartbeat of Stream for For: longer than usual here (again every 100 ms while so)
	Starved                      // the parent of Stream lives but gets nothing itself since For
	Forged                       // the other side forged packets of Stream, or hides who did; Err says what. Once a Take
)

// Event is something that happened on Link.
type Event struct {
	Kind   EventKind
	Link   *Link
	Stream stream.ID
	Data   []byte
	For    time.Duration
	Err    error
}

// Engine makes links and owns what they share: certificate, settings, events.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	media   *webrtc.MediaEngine
	cert    webrtc.Certificate
	print   [32]byte // SHA-256 of cert
	events  chan Event
	wake    chan struct{} // the queue is not empty; capacity 1
	rouse   chan struct{} // there is something for the pulse; capacity 1
	done    chan struct{}
	wg      sync.WaitGroup // links and the deliverer
	vias    atomic.Uint32
	lends   lendBudget
	resting atomic.Bool  // the pulse
	lateAt  atomic.Int64 // when the pulse was last late, ns; 0: never
	sending atomic.Int64 // streams that children take, at the last pulse
	uplink  uplink

	mu     sync.Mutex // guards all below
	links  map[*Link]struct{}
	queue  []Event
	closed bool
}

// NewEngine makes an Engine. Close it.
func NewEngine(cfg Config) (*Engine, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	media, err := newMediaEngine()
	if err != nil {
		return nil, err
	}
	cert, err := newCertificate()
	if err != nil {
		return nil, err
	}
	print, err := fingerprint(cert)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, log: cfg.Log, media: media, cert: *cert, print: print,
		events: make(chan Event, 64),
		wake:   make(chan struct{}, 1),
		rouse:  make(chan struct{}, 1),
		done:   make(chan struct{}),
		links:  map[*Link]struct{}{},
	}
	e.wg.Go(e.deliver)
	e.resting.Store(true)
	e.wg.Go(e.pulse)
	return e, nil
}

// Close closes every link and waits for its goroutines. The channel of Events is
// closed; what was not read from it is dropped.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	for _, l := range e.snapshot() {
		l.Close()
	}
	close(e.done)
	e.wg.Wait()
	close(e.events)
	return nil
}

// Events is where links report; one reader. The engine never drops an event: a slow
// reader makes the links' control channels wait, never their media.
func (e *Engine) Events() <-chan Event { return e.events }

// post queues ev. An alarm that repeats one still queued takes its place.
func (e *Engine) post(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Kind == Silent || ev.Kind == Starved {
		for i, q := range e.queue {
			if q.Kind == ev.Kind && q.Link == ev.Link && q.Stream == ev.Stream {
				e.queue[i].For = ev.For
				return
			}
		}
	}
	e.queue = append(e.queue, ev)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// deliver hands queued events to the reader.
func (e *Engine) deliver() {
	for {
		select {
		case <-e.done:
			return
		case <-e.wake:
		}
		for {
			e.mu.Lock()
			if len(e.queue) == 0 {
				e.mu.Unlock()
				break
			}
			ev := e.queue[0]
			e.queue[0] = Event{}
			e.queue = e.queue[1:]
			e.mu.Unlock()
			select {
			case <-e.done:
				return
			case e.events <- ev:
			}
			if ev.Kind == Control {
				<-ev.Link.inbox
			}
		}
	}
}

// Offer gathers candidates for a new link as the offering side (the joiner). The peer
// need not be known yet: an offer may be answered by another node than the one asked.
// An offer that is not accepted within 30 s goes Down by itself.
func (e *Engine) Offer(ctx context.Context) (*Link, Description, error) {
	l, err := e.newLink()
	if err != nil {
		return nil, Description{}, fmt.Errorf("offer a link: %w", err)
	}
	d, err := l.offer(ctx)
	if err != nil {
		e.abandon(l)
		return nil, Description{}, fmt.Errorf("offer a link: %w", err)
	}
	e.wg.Go(l.run)
	return l, d, nil
}

// Accept completes an Offer with the answer of peer.
func (l *Link) Accept(peer string, d Description) error {
	l.begin(peer)
	if err := l.setRemote(webrtc.SDPTypeAnswer, d); err != nil {
		return fmt.Errorf("accept the answer of %s: %w", peer, err)
	}
	return nil
}

// Answer makes a link from another's offer and returns what to send back.
func (e *Engine) Answer(ctx context.Context, peer string, d Description) (*Link, Description, error) {
	l, err := e.newLink()
	if err != nil {
		return nil, Description{}, fmt.Errorf("answer %s: %w", peer, err)
	}
	own, err := l.answer(ctx, d)
	if err != nil {
		e.abandon(l)
		return nil, Description{}, fmt.Errorf("answer %s: %w", peer, err)
	}
	l.begin(peer)
	e.wg.Go(l.run)
	return l, own, nil
}

// newLink makes a link that belongs to the engine but does not run yet.
func (e *Engine) newLink() (*Link, error) {
	l := newLink(e)
	if err := l.connect(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.links[l] = struct{}{}
		e.wg.Add(1) // until forget
	}
	e.mu.Unlock()
	if closed {
		_ = l.pc.GracefulClose() // of no interest beside ErrClosed
		return nil, ErrClosed
	}
	return l, nil
}

// abandon frees a link that never ran and of which nobody has heard.
func (e *Engine) abandon(l *Link) {
	l.Close()
	if err := l.pc.GracefulClose(); err != nil {
		e.log.Debug("abandon link", "err", err)
	}
	l.wg.Wait()
	e.forget(l)
}

// snapshot lists the links that are.
func (e *Engine) snapshot() []*Link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.links))
}

func (e *Engine) forget(l *Link) {
	e.mu.Lock()
	delete(e.links, l)
	e.mu.Unlock()
	e.wg.Done()
}
