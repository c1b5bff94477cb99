package link

import (
	"errors"
	"time"

	"github.com/watergy/waterfall/stream"
)

const (
	retractWait   = 200 * time.Millisecond // for the word that a forged packet was not the parent's own work
	retractEvery  = 40 * time.Millisecond
	retractTimes  = 3
	maxRetracts   = 64 // ranges
	maxSuspect    = 1024
	incidentGap   = time.Second // what is retracted within is one incident: leaving a forger takes a moment
	incidentTime  = 30 * time.Second
	maxIncidents  = 3
	bareLooks     = 20 // takeTicks with media and no manifest, 1 s of a process that runs …
	bareFew       = 5  // … and so many times as long as one should take
	excusedFactor = 5
	excuseTime    = 500 * time.Millisecond
	starveTellGap = heartbeatEvery
)

var (
	errForged    = errors.New("it forged a packet")
	errManifest  = errors.New("it forged a signed manifest")
	errIncidents = errors.New("it keeps passing on forged packets")
	errWithheld  = errors.New("it withholds the speaker's signatures")

	// ErrKeptBack blames a parent that does not pass on what others have. It may be for
	// want of uplink: there is no proof.
	ErrKeptBack = errors.New("it keeps back packets that others have")
)

// suspicion is what a take knows about the honesty of whom it takes from. The link's
// mutex guards it.
type suspicion struct {
	seen      uint64                  // forgeries looked at
	accused   map[repairKey]time.Time // when a forgery of theirs was noticed that they did not retract
	retracted map[repairKey]time.Time
	owned     time.Time // when they last retracted what they had not before
	incidents []time.Time
	proofs    uint64
	media     bool // came since the last look
	bare      int  // looks with media and without a new manifest
	lookAt    time.Time
	excused   time.Time // they said that they starve
	blamed    bool
}

func newSuspicion(h *stream.History) *suspicion {
	s := &suspicion{accused: map[repairKey]time.Time{}, retracted: map[repairKey]time.Time{}}
	_, s.seen = h.Forgeries(0)
	return s
}

// judge looks at what has become known of forgeries and says when to come again.
// Caller holds mu.
func (l *Link) judge(t *take, now time.Time) time.Time {
	s := t.suspect
	fs, n := t.h.Forgeries(s.seen)
	s.seen = n
	for _, f := range fs {
		k := repairKey{f.Track, f.Number}
		_, known := s.retracted[k]
		switch {
		case f.Via != l.via:
		case f.Proof:
			l.blame(t, errManifest)
		case now.Sub(s.owned) < incidentGap: // of one incident they may not be able to name all
		case !known && len(s.accused) < maxSuspect:
			s.accused[k] = now
		}
	}
	next := now.Add(takeTick)
	for _, at := range s.accused {
		if due := at.Add(retractWait); !due.After(now) {
			l.blame(t, errForged)
		} else if due.Before(next) {
			next = due
		}
	}
	if proofs, every := t.h.Proofs(); every > 0 && now.Sub(s.lookAt) >= takeTick {
		limit := max(bareLooks, bareFew*int(every/takeTick))
		if now.Sub(s.excused) < excuseTime {
			limit *= excusedFactor
		}
		if proofs != s.proofs {
			s.bare = 0
		} else if s.media {
			s.bare++
		}
		if s.bare >= limit {
			l.blame(t, errWithheld)
		}
		s.proofs, s.media, s.lookAt = proofs, false, now
	}
	return next
}

// blame reports a forger, once. Caller holds mu.
func (l *Link) blame(t *take, why error) {
	if !t.suspect.blamed {
		t.suspect.blamed = true
		l.post(Event{Kind: Forged, Link: l, Stream: t.h.ID(), Err: why})
	}
}

// retracted takes the parent's word that packets it has sent were forged above it.
// Caller holds mu.
func (l *Link) retracted(m retract, now time.Time) {
	t := l.byTag[m.tag]
	if t == nil {
		return
	}
	s := t.suspect
	if len(s.retracted) > maxSuspect {
		clear(s.retracted)
	}
	news := false
	for _, r := range m.ranges {
		for n := r.From; n < min(r.To, r.From+maxSuspect); n++ {
			k := repairKey{r.Track, n}
			_, again := s.retracted[k]
			news = news || !again
			s.retracted[k] = now
		}
	}
	if news {
		s.owned = now
		clear(s.accused)
	}
	for len(s.incidents) > 0 && now.Sub(s.incidents[0]) > incidentTime {
		s.incidents = s.incidents[1:]
	}
	if k := len(s.incidents); news && (k == 0 || now.Sub(s.incidents[k-1]) > incidentGap) {
		s.incidents = append(s.incidents, now)
	}
	if len(s.incidents) >= maxIncidents {
		l.blame(t, errIncidents)
	}
}

// suspect has forgeries looked at if there are new ones.
func (l *Link) suspect(h *stream.History) {
	l.mu.Lock()
	t := l.takes[h.ID()]
	news := t != nil && l.news(t)
	l.mu.Unlock()
	if news {
		l.wake()
	}
}

// news says whether there are forgeries that were not looked at. Caller holds mu.
func (l *Link) news(t *take) bool {
	fs, _ := t.h.Forgeries(t.suspect.seen)
	return len(fs) > 0
}

// retracting is what a sender has to tell a child of packets that it should not have
// sent. The sender's goroutine owns it.
type retracting struct {
	seen   uint64 // forgeries looked at
	ranges []stream.Range
	left   int // times to be said yet
	at     time.Time
	toldAt time.Time // when starving was last looked at
}

// retract tells the child, and says when to come again; zero: not before something comes.
func (s *serving) retract(now time.Time) time.Time {
	r := &s.retracting
	fs, n := s.h.Forgeries(r.seen)
	r.seen = n
	for _, f := range fs {
		if !f.Served || f.Number >= s.sent[f.Track] {
			continue
		}
		if r.left == 0 {
			r.ranges = r.ranges[:0]
		}
		r.left, r.at = retractTimes, now
		if k := len(r.ranges) - 1; k >= 0 && r.ranges[k].Track == f.Track && r.ranges[k].To == f.Number {
			r.ranges[k].To++
		} else if k < maxRetracts {
			r.ranges = append(r.ranges, stream.Range{Track: f.Track, From: f.Number, To: f.Number + 1})
		}
	}
	if r.left == 0 {
		return time.Time{}
	}
	if r.at.After(now) {
		return r.at
	}
	for rs := r.ranges; len(rs) > 0; rs = rs[min(len(rs), maxRanges):] {
		s.l.sendHop(retract{tag: s.h.ID().Tag(), ranges: rs}.append(nil))
	}
	if r.left--; r.left == 0 {
		return time.Time{}
	}
	r.at = now.Add(retractEvery)
	return r.at
}

// admit says in a heartbeat between media that nothing of it can be checked: else we
// would be blamed for what is withheld from us.
func (s *serving) admit(now time.Time) {
	if now.Sub(s.retracting.toldAt) < starveTellGap {
		return
	}
	s.retracting.toldAt = now
	if now.Sub(s.last) < heartbeatEvery && s.h.Starving(now) >= starvedFrom {
		s.heartbeat(now, heartbeat{marks: s.sent})
	}
}
