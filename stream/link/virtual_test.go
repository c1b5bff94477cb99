package link

import (
	"context"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// virtual is a node in virtual time.
func virtual(t *testing.T, n *vnet.Network, ip string, cfg vnet.HostConfig) *node {
	t.Helper()
	return newNode(t, n.Host(netip.MustParseAddr(ip), cfg).Transport())
}

var chainTime = flag.Duration("chain", 20*time.Second, "how long TestLossyChain sends (250 packets/s)")

// TestLossyChain is issue 4, figure 4: six hops of 20 ms with jitter. Of what is sent
// ≥ 99.99% come within 400 ms of the lossless time at 1% loss a hop, ≥ 99.9% at 5%, and
// at the end nothing is missing.
func TestLossyChain(t *testing.T) {
	for _, tc := range []struct {
		loss float64
		most float64 // share that may be late
	}{{0.01, 0.0001}, {0.05, 0.001}} {
		t.Run(fmt.Sprint(tc.loss), func(t *testing.T) { lossyChain(t, tc.loss, tc.most) })
	}
}

func lossyChain(t *testing.T, loss, most float64) {
	const hops = 6
	const jitter = 5 * time.Millisecond // each end of a hop
	vnet.Run(t, vnet.Config{Seed: 3, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		src := newSpeaker(t)
		defer src.pub.Close()
		stop := src.talk(t)
		defer stop()
		nodes := make([]*node, hops+1)
		hists := make([]*stream.History, hops+1)
		for i := range nodes { // a packet passes two lines a hop
			nodes[i] = virtual(t, n, fmt.Sprintf("1.2.3.%d", i+1), vnet.HostConfig{Loss: 1 - math.Sqrt(1-loss), Jitter: jitter})
			hists[i] = src.far()
		}
		hists[0] = src.h
		for i := 1; i <= hops; i++ {
			up := feed(t, nodes[i], nodes[i-1], hists[i-1], hists[i])
			nodes[i].wait(up, Flowing)
		}
		deep := hists[hops]
		c := deep.CursorAt(deep.Resume())
		ctx, cancel := context.WithTimeout(t.Context(), *chainTime)
		defer cancel()
		var late, total int
		var worst time.Duration
		buf := make([]stream.Packet, 16)
		for {
			got, err := c.Next(ctx, buf)
			if err != nil {
				break
			}
			for _, p := range buf[:got] {
				if p.Track != 1 {
					continue
				}
				sent, ok := src.h.Get(p.Track, p.Number)
				over := p.At.Sub(sent.At) - hops*20*time.Millisecond
				worst = max(worst, over)
				if total++; !ok || over > 400*time.Millisecond {
					late++
				}
			}
		}
		stop()
		time.Sleep(2 * time.Second)
		s := video(deep)
		if s.Lost != 0 || len(deep.Missing(time.Now(), 0, 9)) > 0 {
			t.Errorf("lost %d, missing %v", s.Lost, deep.Missing(time.Now(), 0, 9))
		}
		t.Logf("figure 4, 6 hops, %v of the packets lost in each: asked %v within 400 ms: %.4f%% of %d, worst %v, %d repaired",
			loss, 1-most, 100-100*float64(late)/float64(total), total, worst, s.Repaired)
		if want := most * float64(total); float64(late) > want+3*math.Sqrt(want)+1 { // a short run says little of a share
			t.Errorf("%d of %d were late", late, total)
		}
	})
}

// TestParentCrash measures how long the stream stands still when a parent dies and the
// child turns to another at the first alarm.
func TestParentCrash(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		src := newSpeaker(t)
		defer src.pub.Close()
		stop := src.talk(t)
		defer stop()
		speaker := virtual(t, n, "1.2.3.1", vnet.HostConfig{})
		child := virtual(t, n, "1.2.3.2", vnet.HostConfig{})
		var up [2]*Link
		for i := range up {
			parent := virtual(t, n, fmt.Sprintf("1.2.3.%d", 10+i), vnet.HostConfig{})
			h := src.far()
			sd, pu := pair(t, parent, speaker)
			sd.Serve(src.h)
			pu.Take(h)
			parent.wait(pu, Flowing)
			var down *Link
			down, up[i] = pair(t, child, parent)
			down.Serve(h)
		}
		far := src.far()
		up[0].Take(far)
		child.wait(up[0], Flowing)
		time.Sleep(3 * time.Second)
		if d := up[0].Stats().RTT; d < 40*time.Millisecond || d > 50*time.Millisecond {
			t.Errorf("round trip %v, want 40 ms", d)
		}

		n.SetDown(netip.MustParseAddr("1.2.3.10"), true)
		died := time.Now()
		child.wait(up[0], Silent)
		up[1].Take(far)
		child.wait(up[1], Flowing)
		gap := time.Since(died)
		t.Logf("the stream stood still for %v", gap)
		if gap > 300*time.Millisecond {
			t.Errorf("%v without a packet", gap)
		}
		if ev := child.wait(up[0], Down); ev.Err == nil || time.Since(died) > 8*time.Second {
			t.Errorf("the dead link is given up after %v: %v", time.Since(died), ev.Err)
		}
		stop()
		time.Sleep(time.Second)
		complete(t, src.h, far, src.n.Load())
	})
}

// TestHeavyLoss loses one packet in ten of a hop: repairs must keep up.
func TestHeavyLoss(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 5, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		src := newSpeaker(t)
		defer src.pub.Close()
		a := virtual(t, n, "1.2.3.1", vnet.HostConfig{Loss: 0.05})
		b := virtual(t, n, "1.2.3.2", vnet.HostConfig{Loss: 0.05})
		down, up := pair(t, b, a)
		stop := src.talk(t)
		defer stop()
		down.Serve(src.h)
		far := src.far()
		up.Take(far)
		time.Sleep(20 * time.Second)
		stop()
		time.Sleep(2 * time.Second)
		complete(t, src.h, far, src.n.Load())
		s := video(far)
		if s.Received != src.n.Load() {
			t.Errorf("%d received of %d: the first packets of the burst are not repaired", s.Received, src.n.Load())
		}
		t.Logf("received %d, repaired %d, duplicates %d", s.Received, s.Repaired, s.Duplicates)
		if s.Duplicates*20 > s.Received {
			t.Errorf("%d duplicates of %d packets", s.Duplicates, s.Received)
		}
	})
}

// TestVirtualUp is the time from Offer to Up at 100 ms of round trip, the way of the
// answer left out.
func TestVirtualUp(t *testing.T) {
	vnet.Run(t, vnet.Config{DefaultDelay: 50 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		a, b := virtual(t, n, "1.2.3.1", vnet.HostConfig{}), virtual(t, n, "1.2.3.2", vnet.HostConfig{})
		start := time.Now()
		pair(t, a, b)
		d := time.Since(start)
		t.Logf("up after %v", d)
		if d > 500*time.Millisecond {
			t.Errorf("up after %v", d)
		}
	})
}

func TestNeverConnected(t *testing.T) {
	vnet.Run(t, vnet.Config{}, func(t *testing.T, n *vnet.Network) {
		a, b := virtual(t, n, "1.2.3.1", vnet.HostConfig{}), virtual(t, n, "1.2.3.2", vnet.HostConfig{})
		_, offer, err := a.Offer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		down, _, err := b.Answer(t.Context(), "a", offer) // the answer is lost
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if ev := b.wait(down, Down); ev.Err == nil || time.Since(start) != connectTime {
			t.Errorf("after %v: %v", time.Since(start), ev.Err)
		}
	})
}
