package link

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/watergy/waterfall/stream"
)

// Hop messages are small packets of the hop's RTP stream, told from media by the first
// two bits (01). They are sent again until what they ask for happens, so none is
// acknowledged. Layouts, big-endian; trailing bytes are ignored:
//
//	heartbeat  0x41 flags(1: 0x01 a burst up to the marks follows, 0x02 paced) tag(2) starving ms(2) marks,
//	           then, if it begins with a video group: track(1) number(6)
//	ask        0x42 session(4) stream ID(16) marks
//	want       0x43 tag(2) count(1) then for each range: track(1) from(6) length(2)
//	drop       0x44 session(4) tag(2)
//	ping       0x45 clock(4) report clock: µs since the sender's choice, wrapping
//	pong       0x46 clock(4)        of the ping
//	retract    0x47 as want: these packets were forged above me
//	keyframe   0x48 tag(2) 0(2)
//	lack       0x49 as want: these packets have not come to me either
//	report     next sequence number(2) packets(4) bytes(4) queue ms(2); perhaps left out
//	marks      count(1) then for each track: track(1) next number(6)
const (
	kindHeartbeat = 0x41
	kindAsk       = 0x42
	kindWant      = 0x43
	kindDrop      = 0x44
	kindPing      = 0x45
	kindPong      = 0x46
	kindRetract   = 0x47
	kindKeyframe  = 0x48
	kindLack      = 0x49

	flagBurst = 0x01
	flagPaced = 0x02
	maxRanges = 16
	maxRun    = 1 << 12
)

type (
	// heartbeat says that the stream lives although no media went for 50 ms, and what has
	// been sent. With burst set it comes first after an ask: what is below the marks
	// follows, of track group (0: of none) from number first on.
	heartbeat struct {
		tag      uint16
		burst    bool
		paced    bool          // less is sent than might be: how it arrives is to be told often
		starving time.Duration // ms on the wire
		marks    stream.Marks
		group    stream.Track
		first    uint64
	}
	// ask wants a stream from marks on. Asks of one session are one wish.
	ask struct {
		session uint32
		id      stream.ID
		marks   stream.Marks
	}
	// want asks for packets again, at most 16 ranges.
	want struct {
		tag    uint16
		ranges []stream.Range
	}
	// retract names packets that were sent and turned out not to be the speaker's.
	retract want
	// lack answers a want for packets that the sender misses, too.
	lack want
	// drop ends a session; 0 any.
	drop struct {
		session uint32
		tag     uint16
	}
	// keyframe asks for a key start, for all below at once.
	keyframe struct{ tag uint16 }
	// ping says how what the other side sends arrives, too.
	ping struct {
		clock uint32
		report
	}
	pong struct{ clock uint32 }
)

var errHop = errors.New("not a hop message")

// isHop reports whether a packet of the hop is not media.
func isHop(b []byte) bool { return len(b) > 0 && b[0]>>6 == 1 }

func (m heartbeat) append(b []byte) []byte {
	var flags byte
	if m.burst {
		flags |= flagBurst
	}
	if m.paced {
		flags |= flagPaced
	}
	b = binary.BigEndian.AppendUint16(append(b, kindHeartbeat, flags), m.tag)
	b = binary.BigEndian.AppendUint16(b, uint16(min(m.starving.Milliseconds(), 0xffff)))
	b = appendMarks(b, m.marks)
	if m.group != 0 {
		b = appendNumber(append(b, byte(m.group)), m.first)
	}
	return b
}

func (m ask) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kindAsk), m.session)
	return appendMarks(append(b, m.id[:]...), m.marks)
}

func (m want) append(b []byte) []byte {
	rs := m.ranges[:min(len(m.ranges), maxRanges)]
	b = binary.BigEndian.AppendUint16(append(b, kindWant), m.tag)
	b = append(b, byte(len(rs)))
	for _, r := range rs {
		b = appendNumber(append(b, byte(r.Track)), r.From)
		b = binary.BigEndian.AppendUint16(b, uint16(min(r.To-r.From, maxRun)))
	}
	return b
}

func (m retract) append(b []byte) []byte { return want(m).appendAs(kindRetract, b) }

func (m lack) append(b []byte) []byte { return want(m).appendAs(kindLack, b) }

func (m want) appendAs(kind byte, b []byte) []byte {
	at := len(b)
	b = m.append(b)
	b[at] = kind
	return b
}

func (m drop) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kindDrop), m.session)
	return binary.BigEndian.AppendUint16(b, m.tag)
}

func (m keyframe) append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(b, kindKeyframe), m.tag), 0, 0)
}

func (m ping) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kindPing), m.clock)
	b = binary.BigEndian.AppendUint16(b, m.next)
	b = binary.BigEndian.AppendUint32(b, m.packets)
	b = binary.BigEndian.AppendUint32(b, m.bytes)
	return binary.BigEndian.AppendUint16(b, uint16(min(max(m.queue.Milliseconds(), 0), 0xffff)))
}

func (m pong) append(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, kindPong), m.clock)
}

// parseHop reads a hop message: one of the types above. Bounded; never panics.
func parseHop(b []byte) (any, error) {
	if len(b) < 5 {
		return nil, errHop
	}
	kind, b := b[0], b[1:]
	switch kind {
	case kindHeartbeat:
		if len(b) < 5 {
			return nil, errHop
		}
		m := heartbeat{
			burst:    b[0]&flagBurst != 0,
			paced:    b[0]&flagPaced != 0,
			tag:      binary.BigEndian.Uint16(b[1:]),
			starving: time.Duration(binary.BigEndian.Uint16(b[3:])) * time.Millisecond,
		}
		var err error
		m.marks, b, err = parseMarks(b[5:])
		if err == nil && len(b) >= 7 && b[0] < stream.MaxTracks && b[0] != 0 {
			m.group, m.first = stream.Track(b[0]), number(b[1:])
		}
		return m, err
	case kindAsk:
		if len(b) < 20 {
			return nil, errHop
		}
		m := ask{session: binary.BigEndian.Uint32(b), id: stream.ID(b[4:20])}
		var err error
		m.marks, _, err = parseMarks(b[20:])
		return m, err
	case kindWant:
		return parseWant(b)
	case kindRetract:
		m, err := parseWant(b)
		return retract(m), err
	case kindLack:
		m, err := parseWant(b)
		return lack(m), err
	case kindDrop:
		if len(b) < 6 {
			return nil, errHop
		}
		return drop{binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:])}, nil
	case kindKeyframe:
		return keyframe{binary.BigEndian.Uint16(b)}, nil
	case kindPing:
		m := ping{clock: binary.BigEndian.Uint32(b)}
		if b = b[4:]; len(b) >= 12 {
			m.report = report{
				next: binary.BigEndian.Uint16(b), packets: binary.BigEndian.Uint32(b[2:]),
				bytes: binary.BigEndian.Uint32(b[6:]),
				queue: time.Duration(binary.BigEndian.Uint16(b[10:])) * time.Millisecond,
			}
		}
		return m, nil
	case kindPong:
		return pong{binary.BigEndian.Uint32(b)}, nil
	}
	return nil, errHop
}

func parseWant(b []byte) (want, error) {
	if len(b) < 3 || int(b[2]) > maxRanges || len(b) < 3+9*int(b[2]) {
		return want{}, errHop
	}
	m := want{tag: binary.BigEndian.Uint16(b)}
	n := int(b[2])
	for b = b[3:]; n > 0; n, b = n-1, b[9:] {
		from, run := number(b[1:]), uint64(binary.BigEndian.Uint16(b[7:]))
		if b[0] >= stream.MaxTracks || run > maxRun {
			return want{}, errHop
		}
		m.ranges = append(m.ranges, stream.Range{Track: stream.Track(b[0]), From: from, To: from + run})
	}
	return m, nil
}

func appendMarks(b []byte, m stream.Marks) []byte {
	at := len(b)
	b = append(b, 0)
	for t, n := range m {
		if n > 0 {
			b = appendNumber(append(b, byte(t)), n)
			b[at]++
		}
	}
	return b
}

// parseMarks returns what follows the marks, too.
func parseMarks(b []byte) (m stream.Marks, rest []byte, err error) {
	if len(b) < 1 || len(b) < 1+7*int(b[0]) {
		return m, nil, errHop
	}
	n := int(b[0])
	for b = b[1:]; n > 0; n, b = n-1, b[7:] {
		if b[0] >= stream.MaxTracks {
			return stream.Marks{}, nil, errHop
		}
		m[b[0]] = number(b[1:])
	}
	return m, b, nil
}

// appendNumber writes 48 bits.
func appendNumber(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(n>>32)), uint32(n))
}

func number(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

// clockOf is the ping clock: microseconds, wrapping after 71 minutes.
func clockOf(t time.Time) uint32 { return uint32(t.UnixMicro()) }

// since is how long ago clock was, for less than 35 minutes; negative if it lies ahead.
func since(clock uint32, now time.Time) time.Duration {
	return time.Duration(int32(clockOf(now)-clock)) * time.Microsecond
}
