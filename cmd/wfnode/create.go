package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node/home"
)

// bootTime is how long create waits for a bootstrap node, putTime how long it tries to
// put the record then.
const (
	bootTime = 5 * time.Second
	putTime  = 10 * time.Second
)

func createCommand() *cobra.Command {
	var (
		at     homeFlags
		net    netFlags
		name   string
		anyone bool
		asJSON bool
		lock   lockFlags
	)
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a room, keep its key, print its ticket",
		Long: `Make a room whose key stays in the home directory, with this node as its speaker, and
print its ticket. No node is run: if a --bootstrap answers, the room's record is put there
once and the address goes into the ticket.

The room is open to all who have the ticket, unless it is given a password or the
OpenPGP keys of those who may enter. The record of a password room is public, so
anybody can try passwords on it offline: --password-generate makes one that stands that.`,
		Example: `  wfnode create --name lecture
  wfnode create --name board --password-generate
  wfnode create --name staff --pgp-recipient ann.asc --pgp-recipient bob.asc`,
		Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("name") {
				name = hostName()
			}
			if err := home.CheckName(name); err != nil {
				return usagef("%w", err)
			}
			n, err := net.parse(cmd, nil)
			if err != nil {
				return err
			}
			out := newOutput(cmd, asJSON)
			return create(cmd, at.dir, name, anyone, &lock, n, out)
		},
	}
	at.add(cmd.Flags())
	net.add(cmd.Flags())
	cmd.Flags().StringVar(&name, "name", "", "name of the room (default: this machine's)")
	cmd.Flags().BoolVar(&anyone, "anyone-speaks", false, "let every member speak")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per event on standard output")
	lock.add(cmd.Flags())
	return cmd
}

func create(cmd *cobra.Command, dir, name string, anyone bool, lock *lockFlags, n network, out *output) error {
	h, err := home.Open(dir)
	if err != nil {
		return err
	}
	key, err := h.Identity()
	if err != nil {
		return err
	}
	self, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	r, err := newRoom(name, self, anyone)
	if err != nil {
		return err
	}
	password, err := lock.apply(cmd, &r, out)
	if err != nil {
		return err
	}
	room, err := signRoom(&r)
	if err != nil {
		return err
	}
	if err := h.AddRoom(r); err != nil {
		return err
	}
	out.say("room", r.ID.String())
	if password != "" {
		out.say("password", password)
	}
	ticket := dht.Ticket{Room: r.ID, Name: r.Name}
	if len(n.contacts) > 0 {
		switch err := putOnce(cmd.Context(), n, room); {
		case cmd.Context().Err() != nil:
			return cmd.Context().Err()
		case err != nil:
			out.warn("the room's record was not put, which a node that speaks will do", err)
		default:
			ticket.Bootstrap = n.bootstrap[:min(len(n.bootstrap), maxTicketAddrs)]
			for _, a := range ticket.Bootstrap {
				r.Bootstrap = append(r.Bootstrap, a.String())
			}
			if err := h.SaveRoom(r); err != nil {
				return err
			}
		}
	}
	out.say("ticket", ticket.String())
	return nil
}

// maxTicketAddrs is how many addresses a ticket carries.
const maxTicketAddrs = 4

// putOnce puts a room's record by a host that lives no longer than that.
func putOnce(ctx context.Context, n network, room *dht.Room) error {
	return withHost(ctx, n, func(ctx context.Context, h *dht.Host) error {
		boot, cancel := context.WithTimeout(ctx, bootTime)
		defer cancel()
		if err := h.Bootstrapped(boot); err != nil {
			return err
		}
		put, cancel := context.WithTimeout(ctx, putTime)
		defer cancel()
		return h.PutRoom(put, room)
	})
}

// withHost gives do a host of a fresh identity, so that it disturbs no node that runs
// under the home's.
func withHost(ctx context.Context, n network, do func(context.Context, *dht.Host) error) error {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a passing identity: %w", err)
	}
	h, err := dht.New(ctx, dht.Config{
		Key: key, Listen: n.listen, Bootstrap: n.contacts, MDNS: n.mdns, Signal: n.signal, Log: n.log.With("part", "dht"),
	})
	if err != nil {
		return portError(err, "listen")
	}
	return errors.Join(do(ctx, h), h.Close())
}
