package link

import (
	"testing"
	"time"

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

// BenchmarkArrived is what a receiver notes of each packet for its reports.
func BenchmarkArrived(b *testing.B) {
	var a arrivals
	now := time.Unix(0, 0)
	b.ReportAllocs()
	for seq := uint16(0); b.Loop(); seq++ {
		now = now.Add(3 * time.Millisecond)
		a.came(seq, clockOf(now), packetSize, now)
	}
}

// BenchmarkRepair is a packet that is wanted, found to be due, and paid for.
func BenchmarkRepair(b *testing.B) {
	r := newRepairs()
	now := time.Unix(0, 0)
	var sent stream.Marks
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		now, sent[1] = now.Add(10*time.Millisecond), n+1
		r.want([]stream.Range{{Track: 1, From: n, To: n + 1}}, stream.Marks{}, sent, 0, now)
		if k, ok := r.peek(now); !ok || k.number != n {
			b.Fatalf("number %d is not next", n)
		}
		r.pop(now)
		r.spend(packetSize, 300e3, now)
	}
}
