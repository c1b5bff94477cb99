package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node/home"
)

// fetchTime is how long the DHT may take to give a room's record, bootstrap included;
// fetchPause lies between two tries.
const (
	fetchTime  = 10 * time.Second
	fetchPause = 500 * time.Millisecond
)

// missesForNo is how many times the DHT must deny a room: one lookup can miss, and the
// record of a room made this second may be on its way.
const missesForNo = 4

// target is the room that a command is about.
type target struct {
	ticket dht.Ticket
	own    *home.Room // nil: made elsewhere
}

// findTarget reads a ROOM argument: a ticket, a room ID, or the name of a room made here.
func findTarget(h *home.Home, arg string) (target, error) {
	own, err := h.Room(arg)
	if err == nil {
		return ownTarget(own)
	}
	if !errors.Is(err, home.ErrNoRoom) {
		return target{}, err
	}
	t, err := dht.ParseTicket(arg)
	if err != nil {
		if !strings.Contains(arg, ":") && home.CheckName(arg) == nil {
			return target{}, usagef("%q is no room made here, nor a ticket or room ID (hint: wfnode room list shows the names; tickets begin with waterfall:)", arg)
		}
		return target{}, usagef("%w", err)
	}
	if own, err := h.Room(t.Room.String()); err == nil {
		return target{ticket: t, own: &own}, nil
	}
	return target{ticket: t}, nil
}

func ownTarget(r home.Room) (target, error) {
	t := target{ticket: dht.Ticket{Room: r.ID, Name: r.Name}, own: &r}
	for _, s := range r.Bootstrap {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return t, fmt.Errorf("address %q kept with room %q: %w", s, r.Name, err)
		}
		t.ticket.Bootstrap = append(t.ticket.Bootstrap, a)
	}
	return t, nil
}

// newRoom is an open room owned by a new key, with this node as its first speaker.
func newRoom(name string, speaker peer.ID, anyone bool) (home.Room, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return home.Room{}, fmt.Errorf("make a room key: %w", err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return home.Room{}, fmt.Errorf("make a room key: %w", err)
	}
	return home.Room{ID: id, Name: name, Key: key, Speakers: []peer.ID{speaker}, AnyoneSpeaks: anyone, Epoch: 1}, nil
}

// signRoom makes a record of r that is good for another 30 days.
func signRoom(r *home.Room) (*dht.Room, error) {
	room, err := dht.CreateRoom(r.Key, dht.RoomOptions{
		Name: r.Name, Speakers: r.Speakers, AnyoneSpeaks: r.AnyoneSpeaks, Now: time.Now(),
		Epoch: r.Epoch, Lock: r.Lock,
	})
	if err != nil {
		return nil, fmt.Errorf("sign the room's record: %w", err)
	}
	r.ID, r.Record = room.ID, room.Record
	return room, nil
}

// openTarget gets the room: signed anew if its key is here, else from the DHT.
func openTarget(ctx context.Context, h *home.Home, host *dht.Host, t target, k *keyFlags) (*dht.Room, error) {
	if t.own != nil {
		room, err := signRoom(t.own)
		if err != nil {
			return nil, err
		}
		return room.WithKeys(keptKeys(h)), h.SaveRoom(*t.own)
	}
	return k.open(ctx, host, t.ticket.Room)
}

// keptKeys open what was made here, also after another process changed it.
func keptKeys(h *home.Home) dht.Keys {
	return dht.Keys{Secret: func(id peer.ID, epoch uint16) (secret [32]byte, ok bool) {
		r, err := h.Room(id.String())
		if err != nil || r.Lock == nil || max(r.Epoch, 1) != epoch {
			return secret, false
		}
		return r.Lock.Secret, true
	}}
}

// fetchRoom asks the DHT, from when a bootstrap node answers, until it is clear that the
// room is there or is not. Nodes found by mDNS may know it when no bootstrap node answers.
func fetchRoom(ctx context.Context, host *dht.Host, id peer.ID, keys dht.Keys) (*dht.Room, error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	booted := make(chan error, 1)
	go func() { booted <- host.Bootstrapped(ctx); close(booted) }()
	defer func() {
		cancel()
		for range booted {
		}
	}()
	pause := time.NewTicker(fetchPause)
	defer pause.Stop()
	var bootErr error
	for ready, misses := (<-chan error)(booted), 0; misses < missesForNo; {
		select {
		case bootErr = <-ready:
			ready = nil
		case <-pause.C:
		}
		room, err := host.FetchRoomWith(ctx, id, keys)
		switch {
		case err == nil:
			return room, nil
		case outer.Err() != nil:
			return nil, outer.Err()
		case ctx.Err() != nil:
			if ready != nil {
				bootErr = <-ready
			}
			if bootErr != nil {
				return nil, bootErr
			}
			return nil, fmt.Errorf("room %s could not be looked up within %v: no node of the DHT answers (hint: --bootstrap with the address of a running node)", id, fetchTime)
		case errors.Is(err, dht.ErrNoRoom):
			misses++
		case !errors.Is(err, dht.ErrNotReached):
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s is no room: nobody holds a room record under this ID (hint: it may name a node; a room's ID is in its ticket and on the room: line of its maker)", id)
}
