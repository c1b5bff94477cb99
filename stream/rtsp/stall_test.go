package rtsp_test

import (
	"bufio"
	"encoding/binary"
	"flag"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/watergy/waterfall/stream"
)

var long = flag.Bool("long", false, "stall for 20 s")

// A reader that stalls for longer than sockets are usually waited for goes on afterwards, at a
// keyframe; meanwhile another gets every packet, and memory stays bounded.
func TestStalledReaderResumes(t *testing.T) {
	t.Parallel()
	pause := 12 * time.Second // gortsplib gives up after 10 s if it is not told otherwise
	if *long {
		pause = 20 * time.Second
	}
	b := newBench(t)
	p, err := b.target.Open(t.Context(), stream.Catalog{Tracks: []stream.TrackInfo{
		{Track: 1, Kind: "video", Codec: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const group = 100 // packets
	number := 0
	write := func() {
		payload := make([]byte, stream.MaxPayload)
		if payload[0] = 0x41; number%group == 0 {
			payload[0] = 0x65
		}
		if err := p.Write(1, uint32(number*900), true, number%group == 0, payload); err != nil {
			t.Fatal(err)
		}
		number++
	}
	write()
	c, err := net.Dial("tcp", b.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := stall(t, c, b.url("room"))
	var beside, missed atomic.Int64
	read(t, b.url("room"), func(pkt *rtp.Packet) {
		n := int64(pkt.Timestamp / 900)
		if was := beside.Swap(n); was > 0 && n != was+1 {
			missed.Add(1)
		}
	})

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tick := time.NewTicker(8 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(pause); time.Now().Before(end); <-tick.C {
		for range 10 { // 11 Mbit/s
			write()
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	// The history's 16 MiB, and the reader's queue of 4096 packets.
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 40<<20 {
		t.Errorf("%d MiB more are held for a reader that stalls", grown>>20)
	}

	stalled := number
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	resumed := make(chan error, 1)
	go func() {
		next, gaps := -1, 0
		for {
			pkt, err := interleaved(r)
			if err != nil {
				resumed <- err
				return
			}
			if pkt == nil {
				continue
			}
			n := int(pkt.Timestamp / 900)
			if next >= 0 && n != next {
				if gaps++; pkt.Payload[0] != 0x65 {
					t.Errorf("after %d comes %d, which is no keyframe", next-1, n)
				}
			}
			if next = n + 1; n > stalled {
				if gaps == 0 {
					t.Error("nothing was left out: the reader did not stall")
				}
				resumed <- nil
				return
			}
		}
	}()
	for end := time.After(15 * time.Second); ; {
		select {
		case err := <-resumed:
			if err != nil {
				t.Errorf("the reader was given up: %v", err)
			}
			if got := beside.Load(); got < int64(stalled) || missed.Load() > 0 {
				t.Errorf("beside it another got packets to %d of %d, with %d holes", got, number, missed.Load())
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			b.target.Closed(p)
			return
		case <-tick.C:
			write()
		case <-end:
			t.Fatal("the reader does not get to where the stream is")
		}
	}
}

// interleaved reads the next packet of channel 0 (RFC 2326, section 10.12); nil for others.
func interleaved(r *bufio.Reader) (*rtp.Packet, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(head[2:]))
	if _, err := io.ReadFull(r, body); err != nil || head[1] != 0 {
		return nil, err
	}
	var p rtp.Packet
	return &p, p.Unmarshal(body)
}
