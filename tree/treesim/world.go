package treesim

import (
	"math"
	"math/rand/v2"
	"time"
)

// The world: delay between two nodes is half the round trip between their regions and
// half of what each one's access line adds.
//
// Round trips between regions, in ms, are the averages that IBM Cloud publishes for its
// network, 29 June to 28 July 2024 (github.com/ibm-cloud-docs/vpc,
// _include-segments/network-latency.md; the upper half of the table). The shares of
// listeners and the round trip inside a region are ours. An access line adds a log-normal
// time with a median of 15 ms: a cable line in New York to a data centre there
// (github.com/haxdds/latencies: p50 15.4, p95 23 to 30 ms).
const (
	inRegion     = 10 // ms
	medianAccess = 15 * time.Millisecond
	sigmaAccess  = 0.4
)

const regions = 10

// shares of the listeners in percent: Dallas, Toronto, Washington, Frankfurt, London,
// Madrid, Osaka, Sydney, Tokyo, São Paulo.
func shares() [regions]int { return [...]int{15, 5, 15, 15, 10, 10, 5, 5, 10, 10} }

// roundTrips gives the upper half of the table, row by row.
func roundTrips() (out [regions][regions]time.Duration) {
	upper := [...]int{
		34, 31, 123, 113, 118, 151, 185, 144, 145,
		19, 92, 83, 106, 170, 214, 163, 129,
		93, 75, 88, 175, 215, 168, 119,
		13, 29, 232, 250, 235, 197,
		27, 244, 261, 246, 187,
		258, 275, 261, 207,
		122, 9, 295,
		115, 328,
		286,
	}
	i := 0
	for a := range regions {
		out[a][a] = inRegion * time.Millisecond
		for b := a + 1; b < regions; b++ {
			out[a][b] = time.Duration(upper[i]) * time.Millisecond
			out[b][a] = out[a][b]
			i++
		}
	}
	return out
}

// settle draws where a node lives and what its line adds to a round trip.
func settle(rng *rand.Rand) (region uint8, access time.Duration) {
	x := rng.IntN(100)
	for i, share := range shares() {
		if x < share {
			region = uint8(i)
			break
		}
		x -= share
	}
	return region, time.Duration(float64(medianAccess) * math.Exp(sigmaAccess*rng.NormFloat64()))
}

func (s *sim) rtt(a, b int32) time.Duration {
	x, y := s.nodes[a], s.nodes[b]
	return s.world[x.region][y.region] + x.access + y.access
}

func (s *sim) oneWay(a, b int32) time.Duration { return s.rtt(a, b) / 2 }
