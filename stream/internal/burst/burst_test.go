package burst

import (
	"bytes"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v4/stdnet"
)

func TestRun(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		want  int
	}{
		{[]int{100}, 1},
		{[]int{100, 100, 100}, 3},
		{[]int{100, 100, 40}, 3},
		{[]int{100, 100, 40, 40}, 3}, // a shorter one ends the run
		{[]int{100, 40, 100}, 2},
		{[]int{100, 200}, 1}, // a longer one can't follow
	} {
		if got := run(c.sizes); got != c.want {
			t.Errorf("run(%v) = %d, want %d", c.sizes, got, c.want)
		}
	}
}

func TestIsMedia(t *testing.T) {
	packet := func(first, second byte) []byte { return append([]byte{first, second}, make([]byte, 30)...) }
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"RTP":             {packet(0x80, 96), true},
		"RTP with marker": {packet(0x80, 96|0x80), true},
		"RTCP":            {packet(0x80, 201), false},
		"STUN":            {packet(0, 1), false},
		"DTLS":            {packet(22, 254), false},
		"too short":       {[]byte{0x80, 96, 0}, false},
		"empty":           {nil, false},
	} {
		if got := isMedia(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// taker is a Receiver that keeps what comes.
type taker struct {
	seqs    []uint16
	sizes   []int
	flushes int
	n       atomic.Int64
	came    chan struct{} // a token when n has grown; capacity 1
}

// wait waits until n packets have come.
func (r *taker) wait(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for r.n.Load() < int64(n) {
		select {
		case <-r.came:
		case <-deadline:
			t.Fatalf("only %d of %d packets have come", r.n.Load(), n)
		}
	}
}

func (r *taker) Room(n int) []byte { return make([]byte, 0, n) }

func (r *taker) Packet(b []byte, _ time.Time) {
	seq := uint16(b[2])<<8 | uint16(b[3])
	if !bytes.Equal(b[headSize:], bytes.Repeat([]byte{byte(seq)}, len(b)-headSize)) {
		r.sizes = append(r.sizes, -1)
	}
	r.seqs, r.sizes = append(r.seqs, seq), append(r.sizes, len(b)-headSize)
}

func (r *taker) Flush() {
	r.flushes++
	r.n.Store(int64(len(r.seqs)))
	select {
	case r.came <- struct{}{}:
	default:
	}
}

// paths are two ends over loopback sockets with keys in place.
func paths(t *testing.T, r Receiver) (from, to *Path, toConn *conn) {
	t.Helper()
	n, err := stdnet.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	key, salt := make([]byte, 16), make([]byte, 12)
	open := func(r Receiver) (*Path, *conn) {
		p := New(n, r)
		c, err := p.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if p.sealer, err = srtp.CreateContext(key, salt, srtp.ProtectionProfileAeadAes128Gcm); err != nil {
			t.Fatal(err)
		}
		if p.opener, err = srtp.CreateContext(key, salt, srtp.ProtectionProfileAeadAes128Gcm, srtp.SRTPReplayProtection(ReplayWindow)); err != nil {
			t.Fatal(err)
		}
		p.ready.Store(true)
		return p, c.(*conn)
	}
	from, fc := open(nil)
	to, toConn = open(r)
	addr := toConn.LocalAddr().(*net.UDPAddr).AddrPort()
	from.route.Store(&route{fc, addr, destinationOf(fc.udp, addr)})
	return from, to, toConn
}

// Whatever sizes are sent together, each packet arrives as it was, in order; pion gets
// what is not media; a replay is dropped.
func TestBursts(t *testing.T) {
	r := &taker{came: make(chan struct{}, 1)}
	from, _, in := paths(t, r)
	pion := make(chan []byte, 8)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 8192)
		for {
			n, _, err := in.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			if n > 0 {
				pion <- slices.Clone(buf[:n])
			}
		}
	}()
	var want []int
	seq := uint16(0)
	send := func(sizes ...int) {
		from.Begin(true)
		for _, n := range sizes {
			from.Add(Head{Type: 96, SSRC: 1, Seq: seq}, bytes.Repeat([]byte{byte(seq)}, n))
			want = append(want, n)
			seq++
		}
		if !from.Flush() {
			t.Error("the socket's buffer is full")
		}
	}
	for i := range 50 { // enough for reads to be made for bursts
		if i%10 == 0 {
			r.wait(t, len(want)) // more at once than the socket holds would be lost
		}
		send(1100, 1100, 1100, 300)
		send(80)
		send(200)
	}
	rtcp := append([]byte{0x80, 201}, make([]byte, 20)...)
	addr := in.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := from.route.Load().conn.WriteToAddrPort(rtcp, addr); err != nil {
		t.Fatal(err)
	}
	r.wait(t, len(want))
	deadline := time.After(5 * time.Second)
	select {
	case b := <-pion:
		if !bytes.Equal(b, rtcp) {
			t.Errorf("pion got %d other bytes", len(b))
		}
	case <-deadline:
		t.Fatal("pion did not get its packet")
	}
	in.Close()
	<-ended
	if !slices.Equal(r.sizes, want) {
		t.Errorf("came %v, want %v", r.sizes, want)
	}
	if !slices.IsSorted(r.seqs) {
		t.Error("out of order")
	}
}

// The socket that sends must not take what arrives, nor let others in.
func TestTwin(t *testing.T) {
	_, _, c := paths(t, &taker{came: make(chan struct{}, 1)})
	addr := c.LocalAddr().(*net.UDPAddr)
	other, err := net.ListenUDP("udp4", addr)
	if err == nil {
		other.Close()
		t.Error("the address can be bound again")
	}
	from, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if _, err := from.WriteToUDPAddrPort([]byte("hello"), addr.AddrPort()); err != nil {
		t.Fatal(err)
	}
	if err := c.UDPConn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, _, err := c.ReadFromAddrPort(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func TestSendAllocates(t *testing.T) {
	from, _, _ := paths(t, nil)
	payload := make([]byte, 1100)
	seq := uint16(0)
	got := testing.AllocsPerRun(200, func() {
		from.Begin(false)
		for range 4 {
			from.Add(Head{Type: 96, SSRC: 1, Seq: seq}, payload)
			seq++
		}
		from.Flush()
	})
	if got > 0 {
		t.Errorf("%v allocations a burst", got)
	}
}

func FuzzSegmentSize(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 104, 0, 0, 0, 0x4c, 4, 0, 0, 0, 0, 0, 0}, 3000)
	f.Add([]byte{}, 100)
	f.Fuzz(func(t *testing.T, oob []byte, n int) {
		if n <= 0 {
			return
		}
		if got := segmentSize(oob, n); got <= 0 {
			t.Errorf("segments of %d bytes", got)
		}
	})
}
