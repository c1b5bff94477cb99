package linkbench

import (
	"crypto/ed25519"
	"crypto/rand"
	"runtime"
	"slices"
	"time"

	"github.com/watergy/waterfall/stream"
)

// Step is one piece of a packet's way, measured alone.
type Step struct {
	Name   string  `json:"name"`
	Nanos  float64 `json:"ns"`
	Allocs uint64  `json:"allocs"`
}

// Steps measures sealing, signing and the history, about half a second each.
func Steps() ([]Step, error) {
	seal, err := stream.NewSealer([16]byte{1}, 1)
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	payload := make([]byte, videoBytes)
	head := stream.Header{Tag: 1, Track: videoTrack}
	wire := seal.Seal(head, payload)
	open := make([]byte, 0, len(wire))
	sign := ed25519.Sign(private, payload[:32])
	put := newPutter(wire)
	return []Step{
		step("seal 1154 bytes", func() { seal.Seal(head, payload) }),
		step("open 1154 bytes", func() { _, err = seal.Open(open[:0], wire) }),
		step("sign (Ed25519)", func() { ed25519.Sign(private, payload[:32]) }),
		step("verify (Ed25519)", func() { ed25519.Verify(public, payload[:32], sign) }),
		step("history and 4 cursors", put.next),
	}, err
}

// putter moves packets through a history with four cursors.
type putter struct {
	h    *stream.History
	curs []*stream.Cursor
	buf  [32]stream.Packet
	p    stream.Packet
}

func newPutter(wire []byte) *putter {
	p := &putter{h: stream.NewHistory(stream.ID{1}, stream.HistoryConfig{Bytes: 1 << 20})}
	for range 4 {
		p.curs = append(p.curs, p.h.CursorAt(nil))
	}
	p.p = stream.Packet{Header: stream.Header{Track: videoTrack}, Wire: wire, At: time.Now()}
	return p
}

func (p *putter) next() {
	p.h.Put(p.p, false)
	p.p.Number++
	for _, c := range p.curs {
		if n, err := c.Poll(p.buf[:]); err != nil || n == 0 {
			panic("a packet that was put is not there")
		}
	}
}

// step is the median of five rounds.
func step(name string, f func()) Step {
	const rounds, round = 5, 50 * time.Millisecond
	f()
	n := 1
	for start := time.Now(); time.Since(start) < round/5; n++ {
		f()
	}
	n *= 5
	var took []float64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		start := time.Now()
		for range n {
			f()
		}
		took = append(took, float64(time.Since(start).Nanoseconds())/float64(n))
	}
	runtime.ReadMemStats(&after)
	slices.Sort(took)
	return Step{name, took[rounds/2], (after.Mallocs - before.Mallocs) / uint64(n*rounds)}
}
