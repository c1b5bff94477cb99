package burst

import (
	"bytes"
	"net"
	"net/netip"
	"runtime"
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
func paths(t testing.TB, r Receiver) (from, to *Path, toConn *conn) {
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
	from.route.Store(routeTo(fc, addr))
	return from, to, toConn
}

func routeTo(c *conn, addr netip.AddrPort) *route {
	return &route{c, addr, addr, destinationOf(c.sock.Load().udp, addr)}
}

func addrOf(c *conn) netip.AddrPort {
	return c.sock.Load().LocalAddr().(*net.UDPAddr).AddrPort()
}

// Whatever sizes are sent together, each packet arrives as it was, in order; pion gets
// what is not media; a replay is dropped.
func TestBursts(t *testing.T) {
	r := &taker{came: make(chan struct{}, 1)}
	from, _, in := paths(t, r)
	exchange(t, r, from, in)
}

// exchange sends bursts and one packet for pion from from to in, whose receiver is r.
func exchange(t *testing.T, r *taker, from *Path, in *conn) {
	t.Helper()
	pion := make(chan []byte, 8)
	stop := pump(in, pion)
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
	for i := range 50 {
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
	stop()
	if !slices.Equal(r.sizes, want) {
		t.Errorf("came %v, want %v", r.sizes, want)
	}
	if !slices.IsSorted(r.seqs) {
		t.Error("out of order")
	}
}

// pump reads in as pion does until stop.
func pump(in *conn, pion chan<- []byte) (stop func()) {
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
	return func() {
		in.Close()
		<-ended
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

// quiet is a Receiver that keeps nothing but the count.
type quiet struct {
	room [maxPacket]byte
	got  int
	came chan int
}

func (q *quiet) Room(int) []byte { return q.room[:0] }

func (q *quiet) Packet([]byte, time.Time) { q.got++ }

func (q *quiet) Flush() { q.came <- q.got }

// trip sends a frame's packets and waits until they have come.
func trip(from *Path, q *quiet, seq *uint16, payload []byte) {
	from.Begin(false)
	for range frame {
		from.Add(Head{Type: 96, SSRC: 1, Seq: *seq}, payload)
		*seq++
	}
	from.Flush()
	for n := 0; n%frame != 0 || n == 0; {
		n = <-q.came
	}
}

const frame = 8 // packets

func TestAllocates(t *testing.T) {
	q := &quiet{came: make(chan int, 64)}
	from, _, in := paths(t, q)
	defer pump(in, nil)()
	payload, seq := make([]byte, 1100), uint16(0)
	for range 8 { // the memory of reads
		trip(from, q, &seq, payload)
	}
	if got := testing.AllocsPerRun(200, func() { trip(from, q, &seq, payload) }); got >= frame/4 { // none; the race detector drops some of what pools hold
		t.Errorf("%v allocations for %d packets sent and received", got, frame)
	}
}

func BenchmarkSend(b *testing.B) {
	from, _, _ := paths(b, nil)
	payload, seq := make([]byte, 1100), uint16(0)
	b.ReportAllocs()
	for b.Loop() {
		from.Begin(false)
		for range frame {
			from.Add(Head{Type: 96, SSRC: 1, Seq: seq}, payload)
			seq++
		}
		from.Flush()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frame), "ns/packet")
}

// BenchmarkTrip is sealing, sending, reading and opening a frame, with the wake-up.
func BenchmarkTrip(b *testing.B) {
	q := &quiet{came: make(chan int, 64)}
	from, _, in := paths(b, q)
	defer pump(in, nil)()
	payload, seq := make([]byte, 1100), uint16(0)
	b.ReportAllocs()
	for b.Loop() {
		trip(from, q, &seq, payload)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frame), "ns/packet")
}

// answerer is a Receiver that answers a packet while its socket is being closed.
type answerer struct {
	quiet
	path *Path
	in   *conn
	got  chan struct{}
}

func (a *answerer) Packet(b []byte, _ time.Time) {
	close(a.got)
	for closing := false; !closing && a.path.sendMu.TryLock(); {
		closing = a.in.closed
		a.path.sendMu.Unlock()
		runtime.Gosched()
	}
	a.path.Begin(false)
	a.path.Add(Head{Type: 96, SSRC: 2}, b[headSize:])
	a.path.Flush()
}

func (a *answerer) Flush() {}

// Closing waits for whoever reads, who may be about to send.
func TestCloseWhileAnswering(t *testing.T) {
	a := &answerer{got: make(chan struct{})}
	from, to, in := paths(t, a)
	a.path, a.in = to, in
	stop := pump(in, make(chan []byte, 8))
	from.Begin(true)
	from.Add(Head{Type: 96, SSRC: 1, Seq: 1}, make([]byte, 100))
	from.Flush()
	<-a.got
	stop()
}
