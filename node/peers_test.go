package node

import (
	"testing"
	"testing/synctest"
	"time"
)

// A neighbour that sends 5,000 control messages a second for 10 s is heard at the rate that
// is allowed; when it has been quiet, as before.
func TestControlBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p peerLink
		flood := func(d time.Duration) (taken int) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
				for range 5 {
					if p.allow() {
						taken++
					}
				}
			}
			return taken
		}
		const most = controlBurst + 10*controlRate
		if n := flood(10 * time.Second); n < most-controlRate || n > most+controlRate {
			t.Errorf("%d messages are taken in 10 s, want about %d", n, most)
		}
		time.Sleep(time.Minute)
		if n := flood(100 * time.Millisecond); n != 500 {
			t.Errorf("after a minute's rest %d of 500 are taken", n)
		}
	})
}
