package node

import (
	"testing"
	"testing/synctest"
	"time"
)

// A neighbour that sends 5,000 control messages a second is heard at the rate that is allowed,
// and is soon found to be flooding; when it has been quiet, it is heard as before. One that
// sends 350 a second is heard less, and is left alone.
func TestControlBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flood := func(p *talk, d, every time.Duration) (taken int, cut time.Duration) {
			began := time.Now()
			for ; time.Since(began) < d; time.Sleep(every) {
				switch p.take() {
				case heard:
					taken++
				case flooded:
					if cut == 0 {
						cut = time.Since(began)
					}
				}
			}
			return taken, cut
		}
		var p talk
		const most = controlBurst + 10*controlRate
		n, cut := flood(&p, 10*time.Second, time.Second/5000)
		if n < most-controlRate || n > most+controlRate {
			t.Errorf("%d messages are taken in 10 s, want about %d", n, most)
		}
		if cut == 0 || cut > 400*time.Millisecond {
			t.Errorf("found to be flooding after %v, want 400 ms at most", cut)
		}
		time.Sleep(time.Minute)
		if n, cut := flood(&p, 100*time.Millisecond, time.Second/5000); n != 500 || cut != 0 {
			t.Errorf("after a minute's rest %d of 500 are taken, flooding %v", n, cut)
		}
		if _, cut := flood(&talk{}, 8*time.Second, time.Second/350); cut != 0 {
			t.Errorf("one that sends 350 a second is cut off after %v", cut)
		}
	})
}

// Who hands on all that it may is never taken for a flooder, also where the line holds
// everything back for 3 s out of four.
func TestHandingOnIsNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var from, to talk
		held := 0
		for i := range 20_000 { // of a millisecond
			for range 5 {
				if from.give() {
					held++
				}
			}
			if i%4000 == 0 {
				for ; held > 0; held-- {
					if to.take() == flooded {
						t.Fatalf("cut off after %d ms", i)
					}
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
}
