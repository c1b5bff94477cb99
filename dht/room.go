package dht

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	roomLife    = 30 * 24 * time.Hour
	roomVersion = 1
	maxName     = 64 // bytes of a room's or a member's name
	maxSpeakers = 255
)

// Admission says how one becomes a member.
type Admission string

const (
	Open     Admission = "open"
	Password Admission = "password"
	PGP      Admission = "pgp"
)

// admissions are the values of the record's admission byte.
var admissions = [...]Admission{Open, Password, PGP}

// RoomOptions for CreateRoom.
type RoomOptions struct {
	Lock         *Lock  // nil: an open room
	Name         string // ≤ 64 bytes
	Speakers     []peer.ID
	AnyoneSpeaks bool
	Epoch        uint16    // 0 means 1
	Now          time.Time // zero means now
}

// Room is an opened room: the signed record and the keys that follow from it.
type Room struct {
	ID           peer.ID
	Name         string
	Admission    Admission
	Epoch        uint16
	Speakers     []peer.ID
	AnyoneSpeaks bool
	Record       []byte // signed by the room key; any member may put it again

	key     pubKey
	seq     uint64
	secret  secret
	keys    Keys             // that it was opened with
	index   []chunkRef       // of its wraps
	chunks  map[place][]byte // records of those that are known here
	fetched bool             // came from the DHT, so it need not be put there at once
}

// CreateRoom makes a room owned by key, signed until 30 days from now.
//
// The record's body: room version (1 B), admission (1 B), epoch (2 B), length of the
// wrapped secret (2 B), the wrapped secret (none for open rooms), and sealed: flags
// (1 B: 1 anyone speaks), name length (1 B), name, number of speakers (1 B), 32 B a speaker.
func CreateRoom(key crypto.PrivKey, o RoomOptions) (*Room, error) {
	ed, err := edKey(key)
	if err != nil {
		return nil, fmt.Errorf("making a room: %w", err)
	}
	if len(o.Name) > maxName || !utf8.ValidString(o.Name) {
		return nil, fmt.Errorf("the room's name has %d bytes (hint: at most %d bytes of UTF-8)", len(o.Name), maxName)
	}
	if len(o.Speakers) > maxSpeakers {
		return nil, fmt.Errorf("%d speakers are listed (hint: at most %d; let anyone speak instead)", len(o.Speakers), maxSpeakers)
	}
	if o.Epoch == 0 {
		o.Epoch = 1
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	pub := publicOf(ed)
	s, admission, lock := openSecret(pub, o.Epoch), Open, Lock{}
	if o.Lock != nil {
		lock = *o.Lock
		s, admission = closedSecret(lock.Secret, pub, o.Epoch), lock.Admission
	}
	plain := []byte{0, byte(len(o.Name))}
	if o.AnyoneSpeaks {
		plain[0] = 1
	}
	plain = append(append(plain, o.Name...), byte(len(o.Speakers)))
	for _, sp := range o.Speakers {
		k, ok := keyOf(sp)
		if !ok {
			return nil, fmt.Errorf("speaker %s is not an Ed25519 peer ID (hint: it begins with 12D3Koo)", sp)
		}
		plain = append(plain, k[:]...)
	}
	h := newHeader(kindRoom, pub, uint64(o.Now.UnixMilli()), roomLife)
	body := []byte{roomVersion, byte(slices.Index(admissions[:], admission))}
	body = binary.BigEndian.AppendUint16(body, o.Epoch)
	body = binary.BigEndian.AppendUint16(body, uint16(len(lock.Wrapped)))
	body = append(append(body, lock.Wrapped...), s.seal("room", h, plain)...)
	raw := h.sign(ed, place{}, body)
	if lim, _ := kindRoom.bounds(); len(raw) > lim.size {
		return nil, fmt.Errorf("the room's record would have %d bytes, more than %d (hint: fewer speakers or hidden keys)", len(raw), lim.size)
	}
	secret := func(peer.ID, uint16) ([secretSize]byte, bool) { return lock.Secret, true }
	r, err := openRoom(context.Background(), pub.ID(), raw, o.Now, Keys{Secret: secret}, nil)
	if err != nil {
		return nil, err
	}
	for _, c := range lock.Chunks {
		at := placeOf(c)
		r.chunks[at] = newHeader(kindWraps, pub, uint64(o.Now.UnixMilli()), roomLife).sign(ed, at, c)
	}
	return r, nil
}

// OpenRoom checks record against id and derives the room's keys. It opens open rooms.
func OpenRoom(id peer.ID, record []byte) (*Room, error) {
	return openRoom(context.Background(), id, record, time.Now(), Keys{}, nil)
}

func openRoom(ctx context.Context, id peer.ID, raw []byte, now time.Time, keys Keys, get chunkFunc) (*Room, error) {
	fail := func(err error) (*Room, error) { return nil, fmt.Errorf("opening room %s: %w", id, err) }
	key, ok := keyOf(id)
	if !ok {
		return fail(errors.New("not an Ed25519 peer ID (hint: a room ID begins with 12D3Koo)"))
	}
	rec, err := check(raw, kindRoom, place{}, now)
	if err != nil {
		return fail(err)
	}
	if rec.writer != key {
		return fail(errors.New("the record is another room's"))
	}
	b := rec.body
	if len(b) < 6 || b[0] != roomVersion || int(b[1]) >= len(admissions) {
		return fail(errors.New("the record is of an unknown form (hint: a newer version may read it)"))
	}
	r := &Room{ID: id, Admission: admissions[b[1]], Epoch: binary.BigEndian.Uint16(b[2:]), Record: slices.Clone(raw),
		key: key, seq: rec.seq, keys: keys, chunks: map[place][]byte{}}
	wrapped := int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < 6+wrapped {
		return fail(errShort)
	}
	if r.Admission == PGP {
		w, err := parsePGPWrap(b[6 : 6+wrapped])
		if err != nil {
			return fail(err)
		}
		r.index = w.index
	}
	if r.Admission == Open {
		r.secret = openSecret(key, r.Epoch)
	} else {
		s, err := keys.unlock(ctx, key, r.Admission, r.Epoch, b[6:6+wrapped], r.keeping(get))
		if err != nil {
			return fail(err)
		}
		r.secret = closedSecret(s, key, r.Epoch)
	}
	plain, err := r.secret.open("room", rec.header, b[6+wrapped:])
	if err != nil {
		return fail(err)
	}
	rd := reader{b: plain}
	r.AnyoneSpeaks = rd.u8()&1 != 0
	r.Name = string(rd.take(int(rd.u8())))
	for n := int(rd.u8()); n > 0 && rd.err == nil; n-- {
		r.Speakers = append(r.Speakers, rd.key().ID())
	}
	if rd.err == nil && (len(r.Name) > maxName || !utf8.ValidString(r.Name)) {
		rd.err = errors.New("the name is not valid")
	}
	if rd.err != nil {
		return fail(rd.err)
	}
	return r, nil
}

// MaySpeak says whether p may publish in the room.
func (r *Room) MaySpeak(p peer.ID) bool { return r.AnyoneSpeaks || slices.Contains(r.Speakers, p) }

// ManySpeak says whether there may be more than one stream.
func (r *Room) ManySpeak() bool { return r.AnyoneSpeaks || len(r.Speakers) > 1 }

// MediaKey is HKDF(epoch secret, stream ID): the seal of a stream.
func (r *Room) MediaKey(stream [16]byte) [16]byte {
	return [16]byte(derive(r.secret[:], stream[:], "waterfall media", 16))
}

// keeping is get, whose chunks r remembers.
func (r *Room) keeping(get chunkFunc) chunkFunc {
	return func(ctx context.Context, at place) ([]byte, error) {
		if get == nil {
			return nil, errors.New("the room's wraps are in the DHT")
		}
		raw, err := get(ctx, at)
		if err != nil {
			return nil, err
		}
		rec, err := parseRecord(raw)
		if err != nil {
			return nil, err
		}
		r.chunks[at] = raw
		return rec.body, nil
	}
}

// Seq is the number of a genuine record of r's room, 0 for anything else; newer records
// have higher numbers.
func (r *Room) Seq(record []byte) uint64 {
	rec, err := check(record, kindRoom, place{}, time.Now())
	if err != nil || rec.writer != r.key {
		return 0
	}
	return rec.seq
}

// Proof shows to's holder that from is a member in this epoch. It goes over the link
// between the two, which has authenticated both.
func (r *Room) Proof(from, to peer.ID) [16]byte {
	return [16]byte(r.secret.name("proof", []byte(from), []byte(to)))
}

// FetchRoom gets an open room's record from the DHT and opens it. It waits up to 5 s for
// somebody in the DHT to ask.
func (h *Host) FetchRoom(ctx context.Context, id peer.ID) (*Room, error) {
	return h.FetchRoomWith(ctx, id, Keys{})
}

// FetchRoomWith is FetchRoom for closed rooms too: ErrClosedRoom when keys lack what the
// room asks for, ErrRefused when it is wrong.
func (h *Host) FetchRoomWith(ctx context.Context, id peer.ID, keys Keys) (*Room, error) {
	key, ok := keyOf(id)
	if !ok {
		return nil, fmt.Errorf("%s is no room ID (hint: a room ID begins with 12D3Koo)", id)
	}
	h.awaitTable(ctx, 5*time.Second)
	raw, answered := h.get(ctx, dhtKey(kindRoom, key, place{}, nil))
	if raw == nil {
		err := ctx.Err()
		switch {
		case err != nil:
			return nil, fmt.Errorf("fetching room %s: %w", id, err)
		case !answered && h.alone() != nil:
			return nil, fmt.Errorf("fetching room %s: %w", id, ErrNotReached)
		}
		return nil, fmt.Errorf("fetching room %s: %w", id, ErrNoRoom)
	}
	r, err := openRoom(ctx, id, raw, h.clock.now(), keys, h.chunksOf(key))
	if err != nil {
		return nil, err
	}
	r.fetched = answered
	return r, nil
}

// Reopen opens a newer record of room r with the keys that r was opened with.
func (h *Host) Reopen(ctx context.Context, r *Room, record []byte) (*Room, error) {
	n, err := openRoom(ctx, r.ID, record, h.clock.now(), r.keys, h.chunksOf(r.key))
	if err == nil {
		n.fetched = true
	}
	return n, err
}

// WithKeys is r to be opened anew, when its record changes, with keys.
func (r *Room) WithKeys(keys Keys) *Room {
	c := *r
	c.keys = keys
	return &c
}

func (h *Host) chunksOf(room pubKey) chunkFunc {
	return func(ctx context.Context, at place) ([]byte, error) {
		raw, _ := h.get(ctx, dhtKey(kindWraps, room, at, nil))
		if raw == nil {
			return nil, errors.New("a part of the room's wraps is not in the DHT now (hint: try again when its maker or other members are online)")
		}
		return raw, nil
	}
}

// PutRoom stores the record, with all wraps that are known here, in the DHT;
// ErrNotReached if nobody took it. A host without bootstrap nodes is a server itself, and
// keeps it for others.
func (h *Host) PutRoom(ctx context.Context, r *Room) error {
	fail := func(err error) error { return fmt.Errorf("putting room %s: %w", r.ID, err) }
	gate := make(chan error, len(r.chunks))
	busy := make(chan struct{}, 4)
	for at, raw := range r.chunks {
		busy <- struct{}{}
		go func() {
			gate <- h.put(ctx, dhtKey(kindWraps, r.key, at, nil), raw)
			<-busy
		}()
	}
	var errs []error
	for range r.chunks {
		errs = append(errs, <-gate)
	}
	// The record comes last: who finds it will look for the wraps.
	if err := errors.Join(errs...); err != nil {
		return fail(err)
	}
	if err := h.put(ctx, dhtKey(kindRoom, r.key, place{}, nil), r.Record); err != nil {
		return fail(err)
	}
	return nil
}
