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
		looks []time.Duration // at the child, after the packet came
		skips bool
	}{
		"in time":                    {looks: []time.Duration{ms, lagMost - ms}},
		"a moment without a core":    {looks: []time.Duration{lagMost, lagMost + stallTime - ms}},
		"for longer":                 {looks: []time.Duration{lagMost, lagMost + stallTime}, skips: true},
		"a newcomer":                 {comes: true, looks: []time.Duration{lagMost, lagMost + stallTime}},
		"a newcomer, ever later":     {comes: true, looks: []time.Duration{lagMost, 2 * lagMost, 2*lagMost + stallTime}, skips: true},
		"too much for a limited way": {rate: 1e5, looks: []time.Duration{lagMost}, skips: true},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			h := stream.NewHistory(stream.ID{1}, stream.HistoryConfig{})
			c := h.CursorAt(nil)
			h.Put(stream.Packet{Header: stream.Header{Track: 1, Number: 5}, Wire: make([]byte, 100), At: start}, false)
			s := &serving{l: &Link{e: &Engine{}}, h: h, cursor: c, level: !tc.comes}
			if tc.comes {
				s.early = lagMost // what it has to catch up with
			}
			for _, at := range tc.looks {
				s.keepUp(tc.rate, start.Add(at))
			}
			if skips := c.Skipped() > 0; skips != tc.skips {
				t.Errorf("skips: %v", skips)
			}
		})
	}
}
