package link

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"

	"github.com/watergy/waterfall/stream"
)

// lossyNet drops outgoing RTP at random, or all that goes out while down.
type lossyNet struct {
	*stdnet.Net
	percent int
	down    atomic.Bool
	mu      sync.Mutex
	rand    *rand.Rand
	dropped atomic.Int64
}

func newLossyNet(t testing.TB, percent int) *lossyNet {
	t.Helper()
	n, err := stdnet.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	return &lossyNet{Net: n, percent: percent, rand: rand.New(rand.NewPCG(1, 2))}
}

func (n *lossyNet) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(network, addr)
	return &lossyConn{c, n}, err
}

type lossyConn struct {
	transport.UDPConn
	n *lossyNet
}

func (c *lossyConn) WriteTo(b []byte, to net.Addr) (int, error) {
	c.n.mu.Lock()
	unlucky := c.n.rand.IntN(100) < c.n.percent
	c.n.mu.Unlock()
	if c.n.down.Load() || unlucky && b[0] >= 128 && b[0] < 192 {
		c.n.dropped.Add(1)
		return len(b), nil
	}
	return c.UDPConn.WriteTo(b, to)
}

func TestLossIsRepaired(t *testing.T) {
	src := newSpeaker(t)
	stop := src.talk(t)
	defer stop()
	lossy := newLossyNet(t, 2)
	nodes := []*node{newNode(t, lossy), newNode(t, newLossyNet(t, 2)), newNode(t, newLossyNet(t, 2))}
	hists := []*stream.History{src.h, src.far(), src.far()}
	for i := 1; i < 3; i++ {
		up := feed(t, nodes[i], nodes[i-1], hists[i-1], hists[i])
		nodes[i].wait(up, Flowing)
	}
	until(t, "1000 packets", hists[2], func() bool { return video(hists[2]).Received >= 1000 })
	stop()
	last := src.n.Load()
	for i, h := range hists[1:] {
		until(t, "all packets", h, func() bool { return video(h).Next == last && len(h.Missing(time.Now(), 0, 1)) == 0 })
		complete(t, src.h, h, last)
		s := video(h)
		t.Logf("node %d: received %d, repaired %d, duplicates %d; dropped %d", i+1, s.Received, s.Repaired, s.Duplicates, lossy.dropped.Load())
		if s.Repaired == 0 {
			t.Error("nothing was repaired: the test tests nothing")
		}
		if s.Duplicates > s.Repaired {
			t.Errorf("%d duplicates for %d repairs", s.Duplicates, s.Repaired)
		}
	}
}

func TestResumeFromSecondParent(t *testing.T) {
	src := newSpeaker(t)
	stop := src.talk(t)
	defer stop()
	speaker, child := newNode(t, nil), newNode(t, nil)
	var down, up [2]*Link
	var net [2]*lossyNet
	for i := range 2 {
		net[i] = newLossyNet(t, 0)
		parent, h := newNode(t, net[i]), src.far()
		sd, pu := pair(t, parent, speaker)
		sd.Serve(src.h)
		pu.Take(h)
		parent.wait(pu, Flowing)
		down[i], up[i] = pair(t, child, parent)
		down[i].Serve(h)
	}
	far := src.far()
	up[0].Take(far)
	child.wait(up[0], Flowing)
	until(t, "100 packets", far, func() bool { return video(far).Received >= 100 })

	net[0].down.Store(true) // killed: it neither sends nor says good-bye
	died := time.Now()
	child.forget()
	child.wait(up[0], Silent)
	silent := time.Since(died)
	up[1].Take(far)
	child.wait(up[1], Flowing)
	t.Logf("silence reported after %v, first packet again after %v", silent, time.Since(died))
	had := video(far).Received
	until(t, "100 packets more", far, func() bool { return video(far).Received >= had+100 })

	net[0].down.Store(false) // both send now: duplicates must not matter
	until(t, "duplicates", far, func() bool { return video(far).Duplicates > 20 })
	stop()
	last := src.n.Load()
	until(t, "the last packet", far, func() bool { return video(far).Next == last && len(far.Missing(time.Now(), 0, 1)) == 0 })
	complete(t, src.h, far, last)
	if video(far).Repaired == 0 {
		t.Error("nothing counts as resumed")
	}
}

func TestStarvedAndAlive(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	src := newSpeaker(t)
	for range 60 {
		src.write(t)
	}
	relay := src.far() // no publisher: a relay that gets nothing any more
	c := src.h.CursorAt(nil)
	buf := make([]stream.Packet, 100)
	n, err := c.Poll(buf)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range buf[:n] {
		p.At = time.Now()
		relay.Put(p, false)
	}
	down, up := pair(t, a, b)
	down.Serve(relay)
	far := src.far()
	up.Take(far)
	ev := a.wait(up, Starved)
	if ev.For < silentAfter {
		t.Errorf("starving for %v", ev.For)
	}
	if ev, ok := a.find(up, Silent); ok {
		t.Errorf("a parent that lives is reported silent: %+v", ev)
	}
	until(t, "its own children would hear of it", far, func() bool { return far.Starving(time.Now()) >= silentAfter })
}
