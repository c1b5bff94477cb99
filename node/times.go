package node

import (
	"time"

	"github.com/watergy/waterfall/dht"
)

// joinTimes are the first moments of this node's way into a stream, as time since the
// node started; zero means that it has not happened yet.
type joinTimes struct {
	signal     dht.Signal
	answer     time.Duration
	connected  time.Duration
	packet     time.Duration
	frame      time.Duration
	silentFrom time.Time     // the parent went silent
	gap        time.Duration // the last time without media
}

func (j *joinTimes) answered(n *Node, via dht.Signal) {
	if j.answer == 0 {
		j.answer, j.signal = time.Since(n.start), via
	}
}

func (j *joinTimes) linkUp(n *Node) {
	if j.answer != 0 && j.connected == 0 {
		j.connected = time.Since(n.start)
	}
}

// firstPacket also ends a time without media.
func (j *joinTimes) firstPacket(n *Node) {
	if j.packet == 0 {
		j.packet = time.Since(n.start)
	}
	if !j.silentFrom.IsZero() {
		j.gap = time.Since(j.silentFrom)
		j.silentFrom = time.Time{}
	}
}

func (j *joinTimes) firstFrame(n *Node) {
	if j.frame == 0 {
		j.frame = time.Since(n.start)
	}
}

// silent notes that nothing has come for d.
func (j *joinTimes) silent(d time.Duration) {
	if j.silentFrom.IsZero() {
		j.silentFrom = time.Now().Add(-d)
	}
}

// millis renders a time for the status document; unknown is null.
func millis(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	ms := float64(d.Microseconds()) / 1000
	return &ms
}
