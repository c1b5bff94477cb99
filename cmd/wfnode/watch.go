package main

import (
	"context"
	"time"

	"github.com/watergy/waterfall/node"
)

// watchFast and watchSlow are how often the status is looked at before and after the
// first stream is live; waitBeforeSaying is how long a room may take to come to life
// before the person is told that nobody speaks.
const (
	watchFast        = 50 * time.Millisecond
	watchSlow        = time.Second
	waitBeforeSaying = 3 * time.Second
)

// watcher tells when streams begin and end, each once.
type watcher struct {
	out     *output
	waiting string // what to say while there is no stream; empty: nothing
	since   time.Time
	live    map[string]bool // streams said to be live; false: said to have ended
}

func newWatcher(out *output, waiting string) *watcher {
	return &watcher{out: out, waiting: waiting, since: time.Now(), live: map[string]bool{}}
}

// run looks at status until ctx ends.
func (w *watcher) run(ctx context.Context, status func() node.Status) {
	pause := watchFast
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if w.look(time.Now(), status()) {
			pause = watchSlow
		}
		timer.Reset(pause)
	}
}

// look says what is new in st, and reports whether any stream has been live so far.
func (w *watcher) look(now time.Time, st node.Status) bool {
	for _, r := range st.Rooms {
		for _, s := range r.Streams {
			w.stream(s)
		}
	}
	if w.waiting != "" && len(w.live) == 0 && now.Sub(w.since) >= waitBeforeSaying {
		w.out.say("waiting", w.waiting)
		w.waiting = ""
	}
	return len(w.live) > 0
}

func (w *watcher) stream(s node.StreamStatus) {
	live, known := w.live[s.ID]
	switch {
	case !known && s.State == "live" && s.Join.FirstFrameMS != nil:
		w.live[s.ID] = true
		more := []field{{"role", s.Role}}
		if s.Layer != nil {
			more = append(more, field{"layer", *s.Layer})
		}
		w.out.say("live", s.ID, more...)
	case live && s.State == "ended":
		w.live[s.ID] = false
		w.out.say("ended", s.ID)
	}
}
