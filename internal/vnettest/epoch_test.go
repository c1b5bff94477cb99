package vnettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/dht/pgp"
	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// stubborn is the key of a member that was removed and does not accept it: it never
// finds out that it is not admitted, and stays where it is.
type stubborn struct{}

func (stubborn) Fingerprints(context.Context) ([][]byte, error) { return nil, errors.New("no card") }
func (stubborn) Unwrap(context.Context, []byte, [][]byte, []byte) ([]byte, error) {
	return nil, errors.New("no card")
}

// recipient is a new OpenPGP key.
func recipient(t *testing.T) pgp.Recipient {
	e, err := openpgp.NewEntity("somebody", "", "", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	to, err := pgp.ParseRecipients(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return to[0]
}

// epochs is a closed room's record in each of its first two epochs.
type epochs struct {
	lock    func(epoch uint16) *dht.Lock
	secrets map[uint16][32]byte
	rooms   map[uint16]*dht.Room
}

func newEpochs(t *testing.T) *epochs {
	e := &epochs{secrets: map[uint16][32]byte{1: dht.NewSecret(), 2: dht.NewSecret()}, rooms: map[uint16]*dht.Room{}}
	one := recipient(t)
	e.lock = func(epoch uint16) *dht.Lock {
		l, err := dht.LockPGP(e.secrets[epoch], []pgp.Recipient{one}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for epoch := range e.secrets {
		e.sign(t, epoch)
	}
	return e
}

// sign makes the record of an epoch; the crowd's node 1 may speak.
func (e *epochs) sign(t *testing.T, epoch uint16) *dht.Room {
	speaker, err := peer.IDFromPrivateKey(key(t, "node1"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := dht.CreateRoom(key(t, "room"), dht.RoomOptions{Name: "crowd", Epoch: epoch, Lock: e.lock(epoch), Speakers: []peer.ID{speaker}})
	if err != nil {
		t.Fatal(err)
	}
	e.rooms[epoch] = r
	return r
}

// begin puts the record of a new epoch from a node, and tells those who are there.
func (e *epochs) begin(c *crowd, maker *member, epoch uint16) {
	c.t.Helper()
	next, old := e.sign(c.t, epoch), e.rooms[epoch-1]
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	if err := maker.Host().PutRoom(ctx, next); err != nil {
		c.t.Fatal(err)
	}
	if err := maker.Host().Announce(ctx, old); err != nil {
		c.t.Fatal(err)
	}
}

func inEpoch(epoch int) func(*member) string {
	return func(m *member) string {
		if r := m.Status().Rooms; len(r) == 0 || r[0].Epoch != epoch {
			return fmt.Sprintf("is not in epoch %d", epoch)
		}
		return ""
	}
}

// reader opens what comes to a node with the keys that it has.
type reader struct {
	mu     sync.Mutex
	sealer *stream.Sealer
	last   time.Time // when a packet came last that opens
	opened int
	shut   int // packets that do not open
}

func (r *reader) watch(ctx context.Context, h *stream.History) {
	c := h.CursorAt(nil)
	buf := make([]stream.Packet, 64)
	for {
		n, err := c.Next(ctx, buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		for _, p := range buf[:n] {
			if p.Track == stream.ManifestTrack {
				continue // signed, not sealed
			}
			if _, err := r.sealer.Open(nil, p.Wire); err != nil {
				r.shut++
				continue
			}
			r.opened, r.last = r.opened+1, p.At
		}
		r.mu.Unlock()
	}
}

// A relay right below the speaker is removed from the room and does not go: it reads
// nothing that is sent later than 5 s after, nobody serves it or listens to it any more, and
// those who remain miss nothing.
func TestRemovedMember(t *testing.T) {
	vnet.Run(t, vnet.Config{Seed: 5, DefaultDelay: 25 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
		const bad = 2 // the first to come: it stands in layer 1
		e := newEpochs(t)
		rooms := e.rooms
		readers := map[int]*reader{}
		var readersMu sync.Mutex
		var reading sync.WaitGroup
		t.Cleanup(reading.Wait)
		c := newCrowd(t, n, crowdConfig{
			log: slog.LevelWarn, lock: e.lock(1),
			keys: func(i int) dht.Keys {
				k := dht.Keys{Secret: func(_ peer.ID, epoch uint16) ([32]byte, bool) {
					return e.secrets[epoch], epoch == 1 || i != bad
				}}
				if i == bad {
					k.PGP = stubborn{}
				}
				return k
			},
			tap: func(i int, h *stream.History) {
				s, err := stream.NewSealer(rooms[1].MediaKey(h.ID()), 1)
				if err == nil && i != bad {
					err = s.Add(rooms[2].MediaKey(h.ID()), 2)
				}
				if err != nil {
					t.Error(err)
				}
				r := &reader{sealer: s}
				readersMu.Lock()
				readers[i] = r
				readersMu.Unlock()
				reading.Go(func() { r.watch(t.Context(), h) })
			},
		})
		c.fill(18, nil, 8*time.Second) // more than the others in layer 1 have slots for
		removed, honest := c.listeners[0], slices.Clone(c.listeners[1:])
		if len(c.below(removed)) == 0 {
			t.Fatal("nobody hangs below the one to be removed")
		}
		before := make(map[*member]map[string]uint64)
		for _, m := range honest {
			before[m] = missing(m)
			m.probe.mark()
		}

		start := time.Now()
		e.begin(c, c.volunteer, 2)
		took := c.eventually(3*time.Second, append(slices.Clone(honest), c.speaker), inEpoch(2))
		t.Logf("all others have the new secret %v after the announcement ended", took)
		time.Sleep(15 * time.Second)

		out := readers[bad]
		out.mu.Lock()
		last := out.last.Sub(start)
		out.mu.Unlock()
		t.Logf("the removed one's last readable packet came after %v; it got %d that it could not read", last, out.shut)
		if last > 5*time.Second {
			t.Errorf("the removed one still read after %v", last)
		}
		s, ok := removed.stream()
		if got := packets(s); ok {
			time.Sleep(3 * time.Second)
			if s, _ = removed.stream(); packets(s) != got || len(s.Children) > 0 {
				t.Errorf("the removed one is still served, or serves %d", len(s.Children))
			}
		}
		for _, m := range honest {
			if s, ok := m.stream(); !ok || s.Parent == nil || slices.Contains(s.Path, removed.ID().String()) {
				t.Errorf("%s has no parent, or hangs below the removed one", m.name)
			}
			if gap := m.probe.read().gap; gap > 200*time.Millisecond {
				t.Errorf("%s stood still for %v", m.name, gap)
			}
		}
		c.eventually(time.Second, honest, flowing(c.counts()))
		c.eventually(time.Second, honest, whole(before))
		for i, r := range readers {
			r.mu.Lock()
			if i != bad && (r.shut > 0 || r.opened == 0) {
				t.Errorf("node %d could not read %d of %d packets", i, r.shut, r.shut+r.opened)
			}
			r.mu.Unlock()
		}
	})
}
