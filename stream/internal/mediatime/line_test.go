package mediatime

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestLine(t *testing.T) {
	var l Line
	if got := l.Time(1, 90000, 90000*60, t0); got != time.Minute {
		t.Errorf("first packet at %v", got)
	}
	if got := l.Time(2, 48000, 48000*62, t0); got != 62*time.Second {
		t.Errorf("sound on the same line at %v", got)
	}
	if got := l.Time(1, 90000, 90000*60+3000, t0); got != time.Minute+time.Second/30 {
		t.Errorf("next frame at %v", got)
	}
}

func TestLineWrapsAndStrangers(t *testing.T) {
	var l Line
	a := l.Time(1, 90000, 0xffffffff, t0)
	if got := l.Time(1, 90000, 89999, t0) - a; got != time.Second {
		t.Errorf("over the wrap: %v", got)
	}
	b := l.Time(2, 48000, 5, t0.Add(100*time.Millisecond))
	if got := b - a; got != 1100*time.Millisecond {
		t.Errorf("a track that keeps no line begins %v after the other", got)
	}
}

func TestClockKeepsTracksTogether(t *testing.T) {
	var c Clock
	v := c.Wall(1, 90000, 90000*10, t0, t0)
	a := c.Wall(2, 48000, 48000*11, t0, t0.Add(time.Millisecond))
	if v != t0 || a.Sub(v) != time.Second {
		t.Errorf("picture at %v, sound %v later, want 1s", v, a.Sub(v))
	}
}

func TestNTP(t *testing.T) {
	if got := NTP(time.Unix(0, 5e8)); got != 2208988800<<32|1<<31 {
		t.Errorf("%x", got)
	}
}
