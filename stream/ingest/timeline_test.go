package ingest

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// skew is how far the picture is behind the sound on the line.
func skew(v, a uint32) time.Duration {
	return span(int64(v), videoRate) - span(int64(a), audioRate)
}

func TestTimelineByArrival(t *testing.T) {
	var l timeline
	a := l.forAudio(Stamp{RTP: 4_000_000_000, At: t0})
	v := l.forVideo(Stamp{RTP: 17, At: t0.Add(40 * time.Millisecond)})
	if got := skew(v, a); got != 40*time.Millisecond {
		t.Errorf("tracks begin %v apart, want 40ms", got)
	}
	v2 := l.forVideo(Stamp{RTP: 17 + 3000, At: t0.Add(95 * time.Millisecond)})
	if v2-v != 3000 {
		t.Errorf("a frame later the line went on by %d ticks", v2-v)
	}
}

func TestTimelineBySenderReports(t *testing.T) {
	// The picture was taken 20 ms before the sound, but came 60 ms after it.
	for _, settled := range []bool{false, true} {
		l := timeline{settled: settled}
		var v, a, before uint32
		for i := range 200 {
			d := time.Duration(i) * time.Second / 30
			a = l.forAudio(Stamp{RTP: 5 + uint32(i)*1600, At: t0.Add(d), NTP: t0.Add(d)})
			before = v
			v = l.forVideo(Stamp{RTP: 9 + uint32(i)*3000, At: t0.Add(d + 60*time.Millisecond), NTP: t0.Add(d - 20*time.Millisecond)})
			if i > 0 && (v-before < 3000-90 || v-before > 3000+90) {
				t.Fatalf("settled %v: the picture jumps by %d ticks", settled, v-before)
			}
		}
		if got := skew(v, a); got.Round(time.Millisecond) != -20*time.Millisecond {
			t.Errorf("settled %v: picture %v from the sound, want -20ms", settled, got)
		}
	}
}

func TestTimelineIgnoresAbsurdReports(t *testing.T) {
	var l timeline
	a := l.forAudio(Stamp{RTP: 0, At: t0, NTP: t0})
	v := l.forVideo(Stamp{RTP: 0, At: t0, NTP: t0.Add(time.Hour)})
	if got := skew(v, a); got != 0 {
		t.Errorf("picture %v from the sound", got)
	}
}

func TestTimelineWrapsAndRestarts(t *testing.T) {
	var l timeline
	v := l.forVideo(Stamp{RTP: 0xffffffff, At: t0})
	w := l.forVideo(Stamp{RTP: 2999, At: t0.Add(33 * time.Millisecond)})
	if w-v != 3000 {
		t.Errorf("over the wrap: %d ticks", w-v)
	}
	x := l.forVideo(Stamp{RTP: 2_000_000_000, At: t0.Add(133 * time.Millisecond)})
	if x-w != 9000 {
		t.Errorf("new clock: the line went on by %d ticks in 100 ms", x-w)
	}
}
