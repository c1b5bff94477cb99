package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/node/console"
	"github.com/watergy/waterfall/node/home"
)

// maxRooms is how many rooms the page takes a node into: each costs topics, records and a
// history for every stream.
const maxRooms = 16

// lobby makes rooms, and enters and leaves them, for the person at the console's page.
type lobby struct {
	r    *running
	n    network
	keys dht.Keys // of the command's flags
	busy chan struct{}

	ctx  context.Context // of being in the rooms; ends with close
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func newLobby(r *running, n network, keys dht.Keys) *lobby {
	l := &lobby{r: r, n: n, keys: keys, busy: make(chan struct{}, 1)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// close ends what goes on in the rooms, which the node then leaves as it closes.
func (l *lobby) close() {
	l.stop()
	l.wg.Wait()
}

// Made lists the rooms that were made here.
func (l *lobby) Made() ([]string, error) {
	rooms, err := l.r.home.Rooms()
	var names []string
	for _, r := range rooms {
		names = append(names, r.Name)
	}
	return names, err
}

// Make makes a room with this node as its speaker, and enters it.
func (l *lobby) Make(ctx context.Context, name, password string) (room string, err error) {
	return l.alone(ctx, func() (*dht.Room, error) {
		if err := home.CheckName(name); err != nil {
			return nil, usagef("%w", err)
		}
		r, err := newRoom(name, l.r.node.ID(), false)
		if err != nil {
			return nil, err
		}
		if password != "" {
			if r.Lock, err = dht.LockPassword(r.ID, r.Epoch, dht.NewSecret(), []byte(password)); err != nil {
				return nil, err
			}
		}
		for _, a := range l.n.bootstrap[:min(len(l.n.bootstrap), maxTicketAddrs)] {
			r.Bootstrap = append(r.Bootstrap, a.String())
		}
		room, err := signRoom(&r)
		if err != nil {
			return nil, err
		}
		if err := l.r.home.AddRoom(r); err != nil {
			return nil, usagef("%w", err)
		}
		room = room.WithKeys(keptKeys(l.r.home))
		return room, l.enter(ctx, room, nil)
	})
}

// Join enters a room by what a person pastes.
func (l *lobby) Join(ctx context.Context, ticket, password string) (room string, err error) {
	return l.alone(ctx, func() (*dht.Room, error) {
		t, err := findTarget(l.r.home, ticket)
		if err != nil {
			return nil, err
		}
		hints, err := peer.AddrInfosFromP2pAddrs(t.ticket.Bootstrap...)
		if err != nil {
			return nil, usagef("the ticket's bootstrap addresses: %w", err)
		}
		room, err := l.find(ctx, t, hints, password)
		if err != nil {
			return nil, err
		}
		return room, l.enter(ctx, room, hints)
	})
}

// find opens a room, by the ticket's bootstrap nodes too.
func (l *lobby) find(ctx context.Context, t target, hints []peer.AddrInfo, password string) (*dht.Room, error) {
	host := l.r.node.Host()
	meet, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	met := host.Meet(meet, hints)
	if t.own != nil {
		return openTarget(ctx, l.r.home, host, t, nil)
	}
	if met != nil && host.Stats().Connected == 0 {
		return nil, fmt.Errorf("no bootstrap node of the ticket answers: %w (hint: is this machine on the network?)", met)
	}
	keys := l.keys
	if password != "" {
		keys.Password = []byte(password)
	}
	return fetchRoom(ctx, host, t.ticket.Room, keys)
}

// Leave leaves a room.
func (l *lobby) Leave(room string) error {
	err := l.r.node.Leave(room)
	if err == nil {
		l.r.out.say("left", room)
	}
	return problem(err)
}

// Consent is what the person is told of passing on, and has answered.
func (l *lobby) Consent() (text string, answer home.Consent, err error) {
	answer, err = l.r.home.Consent()
	return strings.ReplaceAll(consentText, "\n", " "), answer, err
}

// SetConsent takes the person's answer, which holds at once.
func (l *lobby) SetConsent(answer home.Consent) error {
	l.r.node.SetRelay(answer != home.Declined)
	return problem(l.r.home.SetConsent(answer))
}

// alone keeps the page from doing two things at once, which a double click would.
func (l *lobby) alone(ctx context.Context, do func() (*dht.Room, error)) (string, error) {
	select {
	case l.busy <- struct{}{}:
		defer func() { <-l.busy }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	room, err := do()
	if err != nil {
		return "", problem(err)
	}
	return room.ID.String(), nil
}

// enter begins to take part in a room: as a speaker by WHIP where this node may speak.
func (l *lobby) enter(ctx context.Context, room *dht.Room, hints []peer.AddrInfo) error {
	rooms := l.r.node.Status().Rooms
	for _, r := range rooms {
		if r.ID == room.ID.String() {
			return usagef("this node is in that room already")
		}
	}
	if len(rooms) >= maxRooms {
		return usagef("this node is in %d rooms, which is enough (hint: leave one first)", len(rooms))
	}
	inside := make(chan struct{})
	ended := make(chan error, 1)
	l.wg.Go(func() {
		ended <- l.stay(room, hints, func() { close(inside) })
	})
	select {
	case <-inside:
		l.r.out.say("room", room.ID.String())
		return nil
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stay is in a room until it is left, or this node is no longer admitted.
func (l *lobby) stay(room *dht.Room, hints []peer.AddrInfo, inside func()) (err error) {
	n := l.r.node
	if room.MaySpeak(n.ID()) {
		err = n.Speak(l.ctx, node.SpeakConfig{Room: room, Input: "whip", Hints: hints, Inside: inside})
	} else {
		err = n.Join(l.ctx, node.JoinConfig{Room: room, Hints: hints, Inside: inside})
	}
	switch {
	case l.ctx.Err() != nil, errors.Is(err, node.ErrLeft):
		return nil
	case err != nil:
		l.r.out.warn("room "+room.Name, err)
		err = errors.Join(err, n.Leave(room.ID.String()))
	}
	return err
}

// problem is err in words for the page, where no flag helps.
func problem(err error) error {
	if err == nil {
		return nil
	}
	p := &console.Problem{Status: http.StatusBadGateway, Code: "failed"}
	if p.Message, p.Hint = splitHint(err.Error()); strings.Contains(p.Hint, "--") {
		p.Hint = ""
	}
	switch {
	case errors.Is(err, dht.ErrNeedsPassword):
		p.Status, p.Code, p.Message, p.Hint = http.StatusForbidden, "needs-password", "this room needs a password", "ask who gave you the ticket"
	case errors.Is(err, dht.ErrNeedsKey):
		p.Status, p.Code, p.Message, p.Hint = http.StatusForbidden, "refused", "this room admits by OpenPGP key", "start the node with --gpg, or --pgp-key FILE"
	case errors.Is(err, dht.ErrRefused):
		p.Status, p.Code = http.StatusForbidden, "refused"
	case exitCode(err) == exitUsage:
		p.Status, p.Code = http.StatusBadRequest, "bad-ticket"
	}
	return p
}
