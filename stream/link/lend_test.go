package link

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// An honest relay hangs below one that keeps packets back, and a child below the honest
// one; both have the speaker as their backup. The relay gets from there what is kept back
// and leaves the dropper; its child, which lacked the same packets, stays.
func TestDroppingRelay(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 2, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		src, key := newSigner(t)
		defer src.pub.Close()
		stop := src.talk(t)
		defer stop()
		nodes := map[string]*node{}
		for i, who := range []string{"speaker", "dropper", "relay", "child"} {
			nodes[who] = virtual(t, n, fmt.Sprintf("1.2.3.%d", i+1), vnet.HostConfig{})
		}
		in, out := src.far(), src.checking(key) // so that it knows what vouches for what
		feed(t, nodes["dropper"], nodes["speaker"], src.h, in)
		f := newForger(t, nodes["dropper"], in, out, func(p stream.Packet) []stream.Packet {
			if p.Number%10 == 0 {
				return nil
			}
			return []stream.Packet{p}
		})
		relay, child := src.checking(key), src.checking(key)
		bad := feed(t, nodes["relay"], nodes["dropper"], out, relay)
		nodes["relay"].wait(bad, Flowing)
		good := feed(t, nodes["child"], nodes["relay"], relay, child)
		nodes["child"].wait(good, Flowing)
		spare := map[string]*Link{}
		for who, h := range map[string]*stream.History{"relay": relay, "child": child} {
			down, up := pair(t, nodes[who], nodes["speaker"])
			down.Serve(src.h)
			up.Lean(h)
			spare[who] = up
		}
		time.Sleep(2 * time.Second)
		if k := spare["relay"].Stats().MediaIn; k > 0 {
			t.Errorf("the backup lent %d bytes when nothing was missing", k)
		}
		close(f.began)
		first := <-f.first
		if ev := nodes["relay"].wait(bad, Forged); !errors.Is(ev.Err, ErrKeptBack) {
			t.Errorf("left because %v", ev.Err)
		}
		left := time.Since(first)
		t.Logf("left %v after the first packet was kept back", left)
		if left > 8*time.Second {
			t.Errorf("the dropper was left %v after the first packet was kept back", left)
		}
		bad.Close()
		spare["relay"].Take(relay)
		time.Sleep(5 * time.Second)
		if ev, ok := nodes["child"].find(good, Forged); ok {
			t.Errorf("the honest relay is blamed: %v", ev.Err)
		}
		stop()
		if err := src.pub.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		complete(t, src.h, relay, src.n.Load())
		complete(t, src.h, child, src.n.Load())
	})
}

// A line that loses much makes nobody believe that its parent keeps packets back.
func TestLossIsNotKeptBack(t *testing.T) {
	for _, loss := range []float64{0.02, 0.1} {
		vnet.Run(t, vnet.Config{Seed: 2, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
			src, key := newSigner(t)
			defer src.pub.Close()
			stop := src.talk(t)
			defer stop()
			speaker, child := virtual(t, n, "1.2.3.1", vnet.HostConfig{}), virtual(t, n, "1.2.3.2", vnet.HostConfig{Loss: loss})
			backup := virtual(t, n, "1.2.3.3", vnet.HostConfig{})
			h, spare := src.checking(key), src.checking(key)
			good := feed(t, child, speaker, src.h, h)
			child.wait(good, Flowing)
			feed(t, backup, speaker, src.h, spare)
			down, lean := pair(t, child, backup)
			down.Serve(spare)
			lean.Lean(h)
			time.Sleep(30 * time.Second)
			if ev, ok := child.find(good, Forged); ok {
				t.Errorf("with %v of packets lost the parent is blamed: %v", loss, ev.Err)
			}
			t.Logf("loss %v: %+v, %d bytes lent", loss, video(h), lean.Stats().MediaIn)
		})
	}
}
