package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/dht/pgp"
	"github.com/watergy/waterfall/node/home"
)

// announceTime is how long a changed record waits for a member to tell of it.
const announceTime = 3 * time.Second

// change is a command that alters a room made here.
type change struct {
	at     homeFlags
	net    netFlags
	asJSON bool
}

func (c *change) add(cmd *cobra.Command) *cobra.Command {
	c.at.add(cmd.Flags())
	c.net.add(cmd.Flags())
	cmd.Flags().BoolVar(&c.asJSON, "json", false, "one JSON object per event on standard output")
	return cmd
}

// do alters a room, signs its record, keeps it, and puts and announces it if anybody of
// the DHT answers.
func (c *change) do(cmd *cobra.Command, name string, alter func(*home.Room, *output) error) error {
	h, err := home.Open(c.at.dir)
	if err != nil {
		return err
	}
	t, err := findTarget(h, name)
	if err != nil {
		return err
	}
	if t.own == nil {
		return refusedf("room %s was not made here, so its record can't be signed here (hint: use the home directory that it was made with, --home DIR)", t.ticket.Room)
	}
	n, err := c.net.parse(cmd, t.ticket.Bootstrap)
	if err != nil {
		return err
	}
	old, err := signRoom(t.own)
	if err != nil {
		return err
	}
	out := newOutput(cmd, c.asJSON)
	if err := alter(t.own, out); err != nil {
		return err
	}
	room, err := signRoom(t.own)
	if err != nil {
		return err
	}
	if err := h.SaveRoom(*t.own); err != nil {
		return err
	}
	if err := publishChange(cmd.Context(), n, old, room); err != nil {
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		out.warn("the change is kept, but no running node was told of it", err)
	}
	out.say("epoch", fmt.Sprint(room.Epoch))
	return nil
}

// publishChange puts a changed record, and tells the members, who know it by its old secrets.
func publishChange(ctx context.Context, n network, old, room *dht.Room) error {
	return withHost(ctx, n, func(ctx context.Context, h *dht.Host) error {
		boot, cancel := context.WithTimeout(ctx, bootTime)
		defer cancel()
		if err := h.Bootstrapped(boot); err != nil {
			return err
		}
		say, cancel := context.WithTimeout(ctx, announceTime)
		defer cancel()
		if len(n.contacts) == 0 {
			// With no bootstrap node the members of the LAN are the DHT: they must be met first.
			if err := h.Announce(say, old); err != nil {
				return err
			}
		}
		put, cancel := context.WithTimeout(ctx, putTime)
		defer cancel()
		if err := h.PutRoom(put, room); err != nil {
			return err
		}
		say, cancel = context.WithTimeout(ctx, announceTime)
		defer cancel()
		_ = h.Announce(say, old) // nobody may be there
		return nil
	})
}

// newEpoch gives r a secret that those who had the last one do not know.
func newEpoch(r *home.Room) error {
	if r.Epoch = max(r.Epoch, 1); r.Epoch == 1<<16-1 {
		return errors.New("the room has had all its 65,535 epochs (hint: make a new room)")
	}
	r.Epoch++
	return nil
}

func needPGP(r *home.Room, what string) error {
	switch {
	case r.Lock == nil:
		return usagef("room %q is open to all, so nobody can be %s (hint: wfnode create --pgp-recipient makes a room for some)", r.Name, what)
	case r.Lock.Admission == dht.Password:
		return usagef("room %q admits all who have its password, so nobody can be %s (hint: wfnode room password changes it)", r.Name, what)
	}
	return nil
}

func roomAdmitCommand() *cobra.Command {
	var c change
	var hidden bool
	cmd := &cobra.Command{
		Use:   "admit ROOM KEYFILE...",
		Short: "Admit OpenPGP keys to a room made here",
		Args:  takes(2, 1<<10, "a ROOM made here and a KEYFILE: an OpenPGP public key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd, args[0], func(r *home.Room, _ *output) (err error) {
				if err := needPGP(r, "admitted"); err != nil {
					return err
				}
				list := &r.Recipients
				if hidden {
					list = &r.Hidden
				}
				if *list, err = addKeys(*list, args[1:]); err != nil {
					return err
				}
				return lockPGP(r, r.Lock.Secret)
			})
		},
	}
	cmd.Flags().BoolVar(&hidden, "hidden", false, "let the room's record not show that the key is admitted (at most 16)")
	return c.add(cmd)
}

func roomRemoveCommand() *cobra.Command {
	var c change
	return c.add(&cobra.Command{
		Use:   "remove ROOM KEY",
		Short: "Remove an OpenPGP key from a room made here",
		Long: `Remove an OpenPGP key, named by its file, fingerprint, or name, from a room made here.
The room gets a new secret, wrapped to those who remain; they go on, and who was removed
sees nothing that is sent from some seconds later on. What it has seen, it has.`,
		Args: takes(2, 2, "a ROOM made here and a KEY: a file, a fingerprint or a name, as wfnode room list ROOM shows"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd, args[0], func(r *home.Room, _ *output) error {
				if err := needPGP(r, "removed"); err != nil {
					return err
				}
				prints, err := namedKeys(r, args[1])
				if err != nil {
					return err
				}
				for _, p := range prints {
					r.Recipients, _ = dropKey(r.Recipients, p)
					r.Hidden, _ = dropKey(r.Hidden, p)
				}
				if err := newEpoch(r); err != nil {
					return err
				}
				return lockPGP(r, dht.NewSecret())
			})
		},
	})
}

// namedKeys finds the admitted keys that a person means: those of a file, or one by
// fingerprint (its end will do) or by a part of its name.
func namedKeys(r *home.Room, name string) ([][]byte, error) {
	all, err := keptRecipients(slices.Concat(r.Recipients, r.Hidden))
	if err != nil {
		return nil, err
	}
	var means func(pgp.Recipient) bool
	if _, err := os.Stat(name); err == nil {
		files, err := addKeys(nil, []string{name})
		if err != nil {
			return nil, err
		}
		means = func(k pgp.Recipient) bool { _, was := dropKey(files, k.Fingerprint); return was }
	} else {
		hex := strings.ToUpper(strings.ReplaceAll(name, " ", ""))
		means = func(k pgp.Recipient) bool {
			return len(hex) >= 8 && strings.HasSuffix(fmt.Sprintf("%X", k.Fingerprint), hex) || strings.Contains(strings.ToLower(k.Name), strings.ToLower(name))
		}
	}
	var found, exact [][]byte
	for _, k := range all {
		if k.Name == name {
			exact = append(exact, k.Fingerprint)
		}
		if means(k) {
			found = append(found, k.Fingerprint)
		}
	}
	if len(exact) == 1 {
		return exact, nil
	}
	switch {
	case len(found) == 0:
		return nil, usagef("no key that room %q admits is meant by %q (hint: wfnode room list ROOM shows them)", r.Name, name)
	case len(found) > 1:
		return nil, usagef("%q means %d keys that room %q admits (hint: give the fingerprint, as wfnode room list ROOM shows it)", name, len(found), r.Name)
	}
	return found, nil
}

func roomPasswordCommand() *cobra.Command {
	var c change
	var lock lockFlags
	cmd := &cobra.Command{
		Use:   "password ROOM",
		Short: "Change the password of a room made here",
		Long: `Change the password of a room made here. The room gets a new secret: members that are
running know the old password only, and have to join again with the new one.`,
		Args: takes(1, 1, "a ROOM made here"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd, args[0], func(r *home.Room, out *output) error {
				if r.Lock == nil || r.Lock.Admission != dht.Password {
					return usagef("room %q has no password (hint: wfnode create --password-generate makes a room with one)", r.Name)
				}
				if err := newEpoch(r); err != nil {
					return err
				}
				generated, err := lock.lockPassword(cmd, r, out)
				if err == nil && generated != "" {
					out.say("password", generated)
				}
				return err
			})
		},
	}
	lock.addPassword(cmd.Flags())
	return c.add(cmd)
}

func roomSpeakerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "speaker", Short: "Say who may speak in a room made here", Args: knownCommand, RunE: showHelp}
	for _, v := range []struct {
		use, short string
		alter      func([]peer.ID, peer.ID) []peer.ID
	}{
		{"add", "Let a node speak", func(l []peer.ID, p peer.ID) []peer.ID { return append(without(l, p), p) }},
		{"remove", "Let a node no longer speak", without},
	} {
		var c change
		cmd.AddCommand(c.add(&cobra.Command{
			Use: v.use + " ROOM PEER", Short: v.short,
			Args: takes(2, 2, "a ROOM made here and a PEER: what wfnode id prints"),
			RunE: func(cmd *cobra.Command, args []string) error {
				p, err := peer.Decode(args[1])
				if err != nil {
					return usagef("%q is no peer ID (hint: wfnode id prints a node's own, 12D3Koo…)", args[1])
				}
				return c.do(cmd, args[0], func(r *home.Room, _ *output) error {
					r.Speakers = v.alter(r.Speakers, p)
					return nil
				})
			},
		}))
	}
	return cmd
}

func without(list []peer.ID, p peer.ID) []peer.ID {
	return slices.DeleteFunc(slices.Clone(list), func(q peer.ID) bool { return q == p })
}

// listAdmitted prints who may enter a room made here.
func listAdmitted(cmd *cobra.Command, r home.Room, asJSON bool) error {
	w := cmd.OutOrStdout()
	for i, list := range [][][]byte{r.Recipients, r.Hidden} {
		keys, err := keptRecipients(list)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if asJSON {
				fmt.Fprintln(w, object([]field{{"event", "key"}, {"key", fmt.Sprintf("%X", k.Fingerprint)}, {"name", k.Name}, {"hidden", i == 1}}))
				continue
			}
			fmt.Fprintf(w, "%X  %s\n", k.Fingerprint, k.Name)
		}
	}
	return nil
}
