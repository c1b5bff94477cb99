package link

import (
	"testing"

	"github.com/watergy/waterfall/stream"
)

// BenchmarkRelay is one packet from a speaker to four children on loopback: sealing,
// four times SRTP and the socket, and all of the receiving.
func BenchmarkRelay(b *testing.B) {
	src := newSpeaker(b)
	root := newNode(b, nil)
	var fars []*stream.History
	for range 4 {
		child := newNode(b, nil)
		down, up := pair(b, child, root)
		down.Serve(src.h)
		far := src.far()
		up.Take(far)
		src.write(b)
		child.wait(up, Flowing)
		fars = append(fars, far)
	}
	b.ReportAllocs()
	payload := make([]byte, 1000)
	start := src.n.Load()
	n := uint64(0)
	for b.Loop() {
		if err := src.pub.Write(1, uint32(n), true, false, payload); err != nil {
			b.Fatal(err)
		}
		// A window of 64 packets, so that no socket's buffer overflows.
		if n++; n%64 == 0 {
			for _, far := range fars {
				until(b, "64 packets", far, func() bool { return video(far).Next >= start+n })
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*4), "ns/packet-hop")
}
