// Package link is the hop between two nodes: one WebRTC PeerConnection a pair, one
// RTP stream each way with a private codec and AES-128-GCM SRTP, and a control data
// channel. It carries whatever streams the two share, in either role. It knows
// neither rooms nor the tree: the node layer says whom to serve and whom to take from.
//
// A Link's state is guarded by its mutex; its goroutines are one that keeps time
// (run), one that reads media, one that writes control messages, and one sender for
// each stream that the other side takes. Close ends them, Engine.Close waits.
package link

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/burst"
)

const (
	connectTime = 4 * time.Second  // from Accept or Answer to Up
	answerTime  = 30 * time.Second // an offer that nobody answers is closed after this
	pingEvery   = time.Second
)

var (
	// ErrClosed means that the link has been closed, here or there.
	ErrClosed = errors.New("link is closed")
	// ErrFull means that the other side does not take control messages fast enough.
	ErrFull = errors.New("link's control queue is full")

	errConnect  = errors.New("no connection within 4 s (hint: a firewall or two strict NATs may be between)")
	errAnswer   = errors.New("the offer was not answered")
	errLost     = errors.New("the connection was lost")
	errHungUp   = errors.New("the other side closed the link")
	errTooLarge = fmt.Errorf("control message is over %d bytes", maxControl)
)

// Link is the connection with one node.
type Link struct {
	e          *Engine
	pc         *webrtc.PeerConnection
	dc         *webrtc.DataChannel
	track      *outTrack
	path       *burst.Path   // of all media
	net        transport.Net // the system's; nil: another's
	ufrag, pwd string        // ICE, own
	via        uint32        // marks the packets that came over it, among the engine's links

	out   chan []byte   // control messages to send
	inbox chan struct{} // a token for each control message that awaits the events' reader
	drain chan struct{} // SCTP has room again
	kick  chan struct{} // run should look again; capacity 1
	timer *time.Timer   // run's
	dying chan struct{} // closed when the link ends, then err is set
	wg    sync.WaitGroup

	sendMu sync.Mutex // guards seq and the order of packets on the wire
	seq    uint16

	mu        sync.Mutex // guards all below
	peer      string
	err       error // why the link ended; nil: closed here
	ended     bool
	connected bool // ICE and DTLS
	open      bool // data channel
	deadline  time.Time
	upAt      time.Time // zero: not yet
	pingAt    time.Time
	pingedAt  time.Time
	probing   time.Time // pings go often until then
	followBy  time.Time // the other side has to answer a ping; zero: it has
	come      report    // how what the other side sends arrives
	badAt     time.Time // when it last came badly: a queue, or heavy loss
	then      struct {  // come, a second ago
		report
		at time.Time
	}
	heardAt time.Time // when any of it came last
	hurry   time.Time // until then it is told often
	rtt     time.Duration
	session uint32 // of the newest ask
	takes   map[stream.ID]*take
	byTag   map[uint16]*take
	dropAt  time.Time // when media nobody asked for was last refused
	serves  map[stream.ID]*serving
	streams map[stream.ID]*streamCount

	pacer pacer // of what goes to the other side
	count linkCount
}

// linkCount are a link's figures, written by several goroutines.
type linkCount struct {
	mediaIn, mediaOut, feedbackIn, feedbackOut, controlIn, controlOut atomic.Uint64
	forwarded, repairs                                                atomic.Uint64
}

func newLink(e *Engine) *Link {
	return &Link{
		e:        e,
		via:      e.vias.Add(1),
		track:    &outTrack{},
		out:      make(chan []byte, controlQueue),
		inbox:    make(chan struct{}, controlQueue),
		drain:    make(chan struct{}, 1),
		kick:     make(chan struct{}, 1),
		timer:    time.NewTimer(far),
		dying:    make(chan struct{}),
		deadline: time.Now().Add(answerTime),
		takes:    map[stream.ID]*take{},
		byTag:    map[uint16]*take{},
		serves:   map[stream.ID]*serving{},
		streams:  map[stream.ID]*streamCount{},
	}
}

// Peer is the other node's ID as given to Accept or Answer ("" before).
func (l *Link) Peer() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer
}

// Close closes the link; an Event Down follows.
func (l *Link) Close() { l.fail(nil) }

// fail ends the link because of err, if it has not ended yet.
func (l *Link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended, l.err = true, err
	close(l.dying)
}

// begin says that the other side is known and the connection is being made.
func (l *Link) begin(peer string) {
	l.mu.Lock()
	l.peer, l.deadline = peer, time.Now().Add(connectTime)
	l.mu.Unlock()
	l.wake()
}

// wake makes run look at the time and the state again.
func (l *Link) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// spawn runs f as one of the link's goroutines, unless the link has ended.
func (l *Link) spawn(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spawnLocked(f)
}

func (l *Link) spawnLocked(f func()) {
	if l.ended {
		return
	}
	l.wg.Go(f)
}

// run keeps the link's time until it ends, then takes it down.
func (l *Link) run() {
	defer l.timer.Stop()
	for {
		now := time.Now()
		next, err := l.step(now)
		if err != nil {
			l.fail(err)
		}
		if !next.IsZero() {
			l.timer.Reset(next.Sub(now))
		}
		select {
		case <-l.dying:
			l.down()
			return
		case <-l.kick:
		case <-l.timer.C:
		}
	}
}

// step does what is due and says when to come again (zero: the pulse will).
func (l *Link) step(now time.Time) (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.upAt.IsZero() {
		if !now.Before(l.deadline) {
			if l.peer == "" {
				return now, errAnswer
			}
			return now, errConnect
		}
		if !l.connected || !l.open {
			return l.deadline, nil
		}
		l.upAt = now
		l.post(Event{Kind: Up, Link: l})
		l.wg.Go(l.writeControl)
	}
	if l.stuck(now) {
		return now, errStuck
	}
	if l.works() {
		l.e.busy()
	}
	return l.stepUp(now), nil
}

// stepUp is step once the link is up. Caller holds mu.
func (l *Link) stepUp(now time.Time) time.Time {
	if !l.pingAt.After(now) {
		l.pingAt, l.pingedAt = now.Add(l.pingWait(now)), now
		l.sendHop(ping{clockOf(now), l.come}.append(nil))
	}
	next := l.pingAt
	for _, t := range l.takes {
		if at := l.stepTake(t, now); at.Before(next) {
			next = at
		}
	}
	if l.works() && next.Sub(now) >= pulseEvery {
		return time.Time{}
	}
	return next
}

// pionsTurn is for a goroutine of pion that has just seen the other side's ABORT: it
// wants a lock that closing holds for 200 ms, and with it all that asks the connection
// for anything (in a synctest bubble for good). The answering side takes longer, so that
// an ABORT which follows a good-bye does not come at the very instant when the one who
// heard the good-bye closes.
const (
	pionsTurn     = 500 * time.Microsecond
	answerersTurn = 200 * time.Microsecond // more
)

// down reports the end and frees what the link holds. The event goes first: closing
// what is below may take a moment.
func (l *Link) down() {
	l.mu.Lock()
	err := l.err
	l.e.post(Event{Kind: Down, Link: l, Err: err})
	l.mu.Unlock()
	turn := pionsTurn
	if l.answers() {
		turn += answerersTurn
	}
	time.Sleep(turn)
	if err := l.pc.GracefulClose(); err != nil {
		l.e.log.Debug("close link", "peer", l.Peer(), "err", err)
	}
	l.wg.Wait()
	l.e.forget(l)
}

// post reports ev unless the link has ended: nothing follows Down. Caller holds mu.
func (l *Link) post(ev Event) {
	if !l.ended {
		l.e.post(ev)
	}
}
