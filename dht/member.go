package dht

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	memberLife    = 15 * time.Minute
	memberBucket  = 10 * time.Minute // of the rendezvous key
	memberRefresh = 5 * time.Minute  // ± 20%
	maxMembers    = 4096             // listed at most
)

// Member is one line of a room's membership as the DHT lists it.
type Member struct {
	Peer  peer.ID
	Name  string
	Since time.Time // by the member's own clock
	Roles []string  // "speaker", "listener"
}

// roles are the bits of a member record's role byte; roleLeft says goodbye.
var roles = [...]string{"speaker", "listener"}

const roleLeft = 0x80

// encodeMember is the sealed part of a member record: since (8 B, seconds since 1970),
// roles (1 B), name length (1 B), name.
func encodeMember(m Member, left bool) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(m.Since.Unix()))
	var bits byte
	for i, r := range roles {
		if slices.Contains(m.Roles, r) {
			bits |= 1 << i
		}
	}
	if left {
		bits |= roleLeft
	}
	name := m.Name
	for len(name) > maxName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return append(append(b, bits, byte(len(name))), name...)
}

func decodeMember(id peer.ID, b []byte) (m Member, left bool, err error) {
	r := reader{b: b}
	m = Member{Peer: id, Since: time.Unix(int64(r.u64()), 0)}
	bits := r.u8()
	m.Name = string(r.take(int(r.u8())))
	if r.err == nil && (len(m.Name) > maxName || !utf8.ValidString(m.Name)) {
		r.err = errors.New("the member's name is not valid")
	}
	for i, role := range roles {
		if bits&(1<<i) != 0 {
			m.Roles = append(m.Roles, role)
		}
	}
	return m, bits&roleLeft != 0, r.err
}

func bucketOf(t time.Time, width time.Duration) uint64 {
	return uint64(max(t.UnixMilli(), 0)) / uint64(width.Milliseconds())
}

// Members lists a room from the DHT, sorted by arrival. Listed speakers are asked for
// by name, so a speaker with a wrong clock is not missed.
func (h *Host) Members(ctx context.Context, r *Room) ([]Member, error) {
	if !h.awaitTable(ctx, 5*time.Second) {
		return nil, ErrNotReached
	}
	h.refill()
	now := bucketOf(h.clock.now(), memberBucket)
	var (
		mu   sync.Mutex
		list []Member
		seen = map[peer.ID]bool{}
		wg   sync.WaitGroup
		gate = make(chan struct{}, 8)
	)
	look := func(id peer.ID) {
		mu.Lock()
		known := seen[id] || len(seen) >= maxMembers
		seen[id] = true
		mu.Unlock()
		if known {
			return
		}
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			if m, ok := h.member(ctx, r, id); ok {
				mu.Lock()
				list = append(list, m)
				mu.Unlock()
			}
		})
	}
	for _, s := range r.Speakers {
		look(s)
	}
	var buckets sync.WaitGroup
	for _, b := range []uint64{now, now - 1} {
		buckets.Go(func() {
			for ai := range h.kad.FindProvidersAsync(ctx, r.secret.rendezvous("members", nil, b), 0) {
				look(ai.ID)
			}
		})
	}
	buckets.Wait()
	wg.Wait()
	slices.SortFunc(list, func(a, b Member) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Peer, b.Peer))
	})
	return list, ctx.Err()
}

// member gets one member's record.
func (h *Host) member(ctx context.Context, r *Room, id peer.ID) (m Member, ok bool) {
	key, ok := keyOf(id)
	if !ok {
		return m, false
	}
	at := r.secret.place("member")
	raw, _ := h.get(ctx, dhtKey(kindMember, key, at, nil))
	if raw == nil {
		return m, false
	}
	rec, err := check(raw, kindMember, at, h.clock.now())
	if err != nil {
		return m, false
	}
	plain, err := r.secret.open("member", rec.header, rec.body)
	if err != nil {
		return m, false
	}
	m, left, err := decodeMember(id, plain)
	return m, err == nil && !left
}
