package node

import (
	"fmt"
	"time"
)

// clockMost is how far clocks may be off before a person is told. Nothing fails up to a day,
// but times in logs and recordings are wrong.
const (
	clockMost   = 2 * time.Minute
	clockCoarse = 10 * time.Minute
)

// clockVerdict is what a person must be told of this machine's clock, which is so far ahead
// of those of so many others; empty: nothing.
func clockVerdict(ahead time.Duration, of int) string {
	if ahead.Abs() < clockMost {
		return ""
	}
	way := "ahead of"
	if ahead < 0 {
		way = "behind"
	}
	by := ahead.Abs().Round(time.Minute)
	if by > clockCoarse {
		by = by.Round(clockCoarse) // what comes by the DHT is up to 30 s old: it must not be another text each time
	}
	if of < 3 {
		return fmt.Sprintf("this machine's clock is %v %s that of another in this room (hint: wfnode doctor says whose is wrong; all goes on, but set the wrong one)", by, way)
	}
	return fmt.Sprintf("this machine's clock is %v %s those of %d others (hint: set the clock; all goes on until it is a day off)", by, way, of)
}
