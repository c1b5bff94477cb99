package link

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// TestNewcomerSparesSiblings is DESIGN 5, "history": on an uplink that is known and nearly
// full, those who come get the last group out of what is to spare, or begin with the next;
// those who are there lose nothing and notice nothing.
func TestNewcomerSparesSiblings(t *testing.T) {
	const way, kids = 20 * time.Millisecond, 4
	const line = 10_000_000 // 4 children take 8.9 Mbit/s with all headers
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: way}, func(t *testing.T, n *vnet.Network) {
		src := newSpeaker(t)
		defer src.pub.Close()
		stop := src.talk(t)
		defer stop()
		parent := virtual(t, n, "1.2.3.1", vnet.HostConfig{Up: line})
		parent.SetUplink(line, true)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		var seen [kids]lateness
		var far [kids]*stream.History
		time.Sleep(3 * time.Second)
		for i := range kids {
			child := virtual(t, n, fmt.Sprintf("1.2.3.%d", 10+i), vnet.HostConfig{})
			down, up := pair(t, child, parent)
			down.Serve(src.h)
			far[i] = src.far()
			asked := time.Now()
			up.Take(far[i])
			child.wait(up, Flowing)
			wg.Go(func() { seen[i].watch(ctx, src.h, far[i]) })
			time.Sleep(time.Second)
			t.Logf("child %d: %d packets of video after a second", i, video(far[i]).Received)
			if video(far[i]).Received < 200 {
				t.Errorf("child %d has %d packets of video %v after it asked", i, video(far[i]).Received, time.Since(asked))
			}
			for j := range i {
				worst, got, _ := seen[j].quantile(1)
				if worst > way+20*time.Millisecond || video(far[j]).Lost > 0 || got < 240 {
					t.Errorf("child %d got %d packets, at most %v late, when child %d came: %+v", j, got, worst, i, video(far[j]))
				}
			}
			seen[i].quantile(0)
		}
	})
}

// TestKeyframeWishesMerge: 20 nodes in two layers come to a stream whose groups are
// long. The speaker is asked for keyframes, once a second at most.
func TestKeyframeWishesMerge(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		src := newSpeaker(t)
		defer src.pub.Close()
		var asked []time.Time
		keys := 0
		end, done := make(chan struct{}), make(chan struct{})
		go func() { // a source that makes keyframes on request only
			defer close(done)
			tick := time.NewTicker(4 * time.Millisecond)
			defer tick.Stop()
			late := 0
			for i := uint32(0); ; i++ {
				if src.h.KeyframeDue(time.Now()) {
					asked = append(asked, time.Now())
					late = 100 // it takes its time
				}
				key := i == 0 || late == 1
				late = max(0, late-1)
				if key {
					keys++
				}
				if err := src.pub.Write(1, i*360, true, key, make([]byte, 1000)); err != nil {
					t.Error(err)
				}
				select {
				case <-end:
					return
				case <-tick.C:
				}
			}
		}()
		time.Sleep(5 * time.Second)
		start := time.Now()
		var parents []*node
		hists := []*stream.History{src.h}
		parents = append(parents, virtual(t, n, "1.2.3.1", vnet.HostConfig{}))
		for i := range 20 {
			child := virtual(t, n, fmt.Sprintf("1.2.3.%d", 10+i), vnet.HostConfig{})
			at := i / 4
			down, up := pair(t, child, parents[at])
			down.Serve(hists[at])
			far := src.far()
			up.Take(far)
			child.wait(up, Flowing)
			parents, hists = append(parents, child), append(hists, far)
		}
		time.Sleep(5 * time.Second)
		took := time.Since(start)
		close(end)
		<-done
		t.Logf("asked %d times in %v, %d keyframes", len(asked), took, keys)
		if len(asked) == 0 || len(asked) > 1+int(took/time.Second) {
			t.Errorf("asked %d times in %v", len(asked), took)
		}
		for i := 1; i < len(asked); i++ {
			if d := asked[i].Sub(asked[i-1]); d < time.Second {
				t.Errorf("asked again after %v", d)
			}
		}
		for i, h := range hists[1:] {
			if s := video(h); s.Received == 0 || s.Lost > 0 {
				t.Errorf("node %d: %+v", i, s)
			}
		}
	})
}
