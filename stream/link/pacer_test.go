package link

import (
	"testing"
	"time"

	"github.com/watergy/waterfall/stream"
)

// A child that is too far behind skips; one that this process alone has kept waiting does so
// only if that lasts.
func TestKeepUp(t *testing.T) {
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		rate  float64         // limit of the way, bytes a second
		comes bool            // the child has not been level yet
		few   bool            // others are sent to
		looks []time.Duration // at the child, after the packet came
		waits bool            // for this process: it gets no repairs
		skips bool
	}{
		"at once":                    {looks: []time.Duration{ms, shedFrom - ms}},
		"in time":                    {looks: []time.Duration{ms, lagMost - ms}, waits: true},
		"a moment without a core":    {looks: []time.Duration{lagMost, lagMost + stallTime - ms}, waits: true},
		"for longer":                 {looks: []time.Duration{lagMost, lagMost + stallTime}, waits: true, skips: true},
		"a newcomer":                 {comes: true, looks: []time.Duration{lagMost, lagMost + shedFrom - ms}},
		"a newcomer, later":          {comes: true, looks: []time.Duration{lagMost, lagMost + stallTime - ms}, waits: true},
		"a newcomer, ever later":     {comes: true, looks: []time.Duration{lagMost, 2 * lagMost, 2*lagMost + stallTime}, waits: true, skips: true},
		"one of few":                 {few: true, looks: []time.Duration{lagMost, lagMost + stallTime}},
		"one of few, ever later":     {few: true, looks: []time.Duration{fewLag, fewLag + stallTime}, waits: true, skips: true},
		"too much for a limited way": {rate: 1e5, looks: []time.Duration{lagMost}, skips: true},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			h := stream.NewHistory(stream.ID{1}, stream.HistoryConfig{})
			c := h.CursorAt(nil)
			h.Put(stream.Packet{Header: stream.Header{Track: 1, Number: 5}, Wire: make([]byte, 100), At: start}, false)
			s := &serving{l: &Link{e: &Engine{}}, h: h, cursor: c, level: !tc.comes}
			if !tc.few {
				s.l.e.sending.Store(shedLeast)
			}
			if tc.comes {
				s.early = lagMost // what it has to catch up with
			}
			for _, at := range tc.looks {
				s.keepUp(tc.rate, start.Add(at))
			}
			if waits := s.shed.waits(); waits != tc.waits {
				t.Errorf("is kept waiting: %v", waits)
			}
			if skips := c.Skipped() > 0; skips != tc.skips {
				t.Errorf("skips: %v", skips)
			}
		})
	}
}

// After a skip a child is told once a track what it will not get.
func TestGoesOn(t *testing.T) {
	s := &serving{sent: stream.Marks{1: 5, 2: 8}, gaps: 1<<1 | 1<<2 | 1<<3}
	for _, tc := range []struct {
		track  stream.Track
		number uint64
		left   stream.Range
	}{
		{1, 40, stream.Range{Track: 1, From: 5, To: 40}},
		{1, 41, stream.Range{}},
		{2, 8, stream.Range{}},  // nothing is left out
		{3, 70, stream.Range{}}, // it has had nothing of it
	} {
		if left := s.goesOn(stream.Header{Track: tc.track, Number: tc.number}); left != tc.left {
			t.Errorf("track %d goes on at %d: left out %v, not %v", tc.track, tc.number, left, tc.left)
		}
		s.sent[tc.track] = tc.number + 1
	}
	if want := (stream.Marks{1: 40, 2: 8, 3: 70}); s.floor != want {
		t.Errorf("not to be sent again below %v, want %v", s.floor, want)
	}
}

// A child that asks again is served anew if more than what may be on its way has not come.
func TestOnTheWay(t *testing.T) {
	h := stream.NewHistory(stream.ID{1}, stream.HistoryConfig{})
	for name, tc := range map[string]struct {
		base, sent, from stream.Marks
		stands           bool
	}{
		"all has come":              {sent: stream.Marks{1: 900, 2: 80}, from: stream.Marks{1: 900, 2: 80}, stands: true},
		"a burst is on its way":     {sent: stream.Marks{1: 900, 2: 80}, from: stream.Marks{1: 900 - sendAhead, 2: 79}, stands: true},
		"the line was cut":          {sent: stream.Marks{1: 900, 2: 80}, from: stream.Marks{1: 700, 2: 70}},
		"it got more from another":  {sent: stream.Marks{1: 900}, from: stream.Marks{1: 901}},
		"a track that stands still": {base: stream.Marks{1: 800, 2: 80}, sent: stream.Marks{1: 900}, from: stream.Marks{1: 890, 2: 80}, stands: true},
		"it has nothing":            {sent: stream.Marks{1: 900}},
		"it lacks the first":        {sent: stream.Marks{0: 1, 1: 900}, from: stream.Marks{1: 900}},
		"nothing was sent":          {stands: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &serving{h: h, cursor: h.CursorAt(nil), base: tc.base, sent: tc.sent}
			if stands := s.onTheWay(tc.from); stands != tc.stands {
				t.Errorf("goes on as it is: %v", stands)
			}
		})
	}
	if (&serving{}).onTheWay(stream.Marks{}) {
		t.Error("goes on with nothing")
	}
}
