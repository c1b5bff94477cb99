package playback

import (
	"slices"
	"sync"
	"time"

	"github.com/watergy/waterfall/stream"
)

// stage plays a stream to all its viewers in one goroutine: a burst wakes that, whatever
// the number of viewers. It waits for nobody: what a viewer's socket does not take is lost
// to that viewer, which asks for it again.
type stage struct {
	ready chan struct{} // the history has more, or there are other viewers; capacity 1

	mu      sync.Mutex // guards viewers
	viewers []*viewer
}

// stageKey names a stage.
type stageKey = *stream.History

// enter adds v to the stage of its stream.
func (w *WHEP) enter(v *viewer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := w.stages[v.src.History]
	if st == nil {
		st = &stage{ready: make(chan struct{}, 1)}
		w.stages[v.src.History] = st
		w.wg.Go(func() { st.run(func() bool { return w.over(v.src.History, st) }) })
	}
	v.play = stream.NewPlayer(v.src.History, v.src.Sealer, stream.PlayerConfig{Delay: v.src.Delay, Ready: st.ready})
	st.mu.Lock()
	st.viewers = append(st.viewers, v)
	st.mu.Unlock()
	st.wake()
}

// leave takes v off its stage: when it returns, v is played to no more.
func (w *WHEP) leave(v *viewer) {
	w.mu.Lock()
	st := w.stages[v.src.History]
	w.mu.Unlock()
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if i := slices.Index(st.viewers, v); i >= 0 {
		st.viewers = slices.Delete(st.viewers, i, i+1)
		v.play.Close()
	}
	st.wake()
}

// over forgets a stage without viewers.
func (w *WHEP) over(key stageKey, st *stage) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.viewers) > 0 {
		return false
	}
	delete(w.stages, key)
	return true
}

func (st *stage) wake() {
	select {
	case st.ready <- struct{}{}:
	default:
	}
}

// run plays until over says that nobody is there any more.
func (st *stage) run(over func() bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var samples []stream.Sample
	for {
		select {
		case <-st.ready:
		case <-timer.C:
		}
		now := time.Now()
		var next time.Time
		st.mu.Lock()
		none := len(st.viewers) == 0
		for _, v := range st.viewers {
			var at time.Time
			samples, at = v.show(now, samples[:0])
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		st.mu.Unlock()
		clear(samples[:cap(samples)])
		if none && over() {
			return
		}
		if !next.IsZero() {
			timer.Reset(next.Sub(now))
		}
	}
}
