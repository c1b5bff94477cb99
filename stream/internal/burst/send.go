package burst

import (
	"encoding/binary"
	"sync"
)

const (
	headSize  = 12
	maxPacket = 1500
	maxBurst  = 60_000 // bytes: a segmented send is one IP packet to the kernel
	maxRun    = 64     // segments (UDP_MAX_SEGMENTS of older kernels)
	tagRoom   = 32     // what sealing adds at most
)

// Head is what varies in an RTP header.
type Head struct {
	Marker bool
	Type   uint8
	Seq    uint16
	Time   uint32
	SSRC   uint32
}

// burst is a run of sealed packets on their way to the socket.
type burst struct {
	buf   []byte
	sizes []int
	wait  bool // for room in the socket's buffer
	full  bool // there was none
}

var bursts = sync.Pool{New: func() any {
	return &burst{buf: make([]byte, 0, maxBurst+maxPacket+tagRoom), sizes: make([]int, 0, maxRun)}
}}

// Begin begins to send; call Add for each packet, then Flush. Nobody else can send
// between. With wait set, the path waits for room in the socket's buffer.
func (p *Path) Begin(wait bool) {
	p.sendMu.Lock()
	p.burst = bursts.Get().(*burst)
	p.burst.wait, p.burst.full = wait, false
}

// Add seals a packet and queues it. The same Seq must never be used for other bytes.
// What can't be sent is lost, as on any network.
func (p *Path) Add(h Head, payload []byte) {
	b := p.burst
	if p.sealer == nil || headSize+len(payload) > maxPacket {
		return
	}
	if len(b.buf) >= maxBurst || len(b.sizes) == maxRun {
		p.send()
	}
	at := len(b.buf)
	out := append(b.buf, 0x80, h.Type)
	if h.Marker {
		out[at+1] |= 0x80
	}
	out = binary.BigEndian.AppendUint16(out, h.Seq)
	out = binary.BigEndian.AppendUint32(out, h.Time)
	out = binary.BigEndian.AppendUint32(out, h.SSRC)
	out = append(out, payload...)
	sealed, err := p.sealer.EncryptRTP(out[at:], out[at:], &p.head)
	if err != nil {
		return
	}
	b.buf = b.buf[:at+len(sealed)]
	b.sizes = append(b.sizes, len(sealed))
}

// Flush sends what was added; false: there was no room for some of it.
func (p *Path) Flush() bool {
	p.send()
	full := p.burst.full
	bursts.Put(p.burst)
	p.burst = nil
	p.sendMu.Unlock()
	return !full
}

// send sends the queued packets: those of one size, and a shorter one behind them, in
// one call.
func (p *Path) send() {
	b, r := p.burst, p.route.Load()
	for i, at := 0, 0; i < len(b.sizes) && r != nil && !b.full; {
		n := run(b.sizes[i:])
		size := 0
		for _, s := range b.sizes[i : i+n] {
			size += s
		}
		b.full = !r.conn.sock.Load().sendRun(b.buf[at:at+size], b.sizes[i], r, b.wait)
		i, at = i+n, at+size
	}
	b.buf, b.sizes = b.buf[:0], b.sizes[:0]
}

// run is how many of sizes can go in one segmented send: the segments are all of the
// first's size but the last, which may be shorter.
func run(sizes []int) int {
	n := 1
	for n < len(sizes) && sizes[n] <= sizes[0] {
		n++
		if sizes[n-1] < sizes[0] {
			break
		}
	}
	return n
}
