package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node/home"
)

// membersTime bounds the listing of a room, after the room has been found.
const membersTime = 10 * time.Second

func roomCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "room",
		Short: "Rooms made here, and who is in a room",
		Args:  knownCommand,
		RunE:  showHelp,
	}
	cmd.AddCommand(
		roomListCommand(), roomMembersCommand(), roomAdmitCommand(), roomRemoveCommand(),
		roomPasswordCommand(), roomSpeakerCommand(),
	)
	return cmd
}

func roomListCommand() *cobra.Command {
	var (
		at     homeFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "list [ROOM]",
		Short: "List the rooms made here, or the keys that one of them admits",
		Args:  takes(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := home.Open(at.dir)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				t, err := findTarget(h, args[0])
				if err != nil {
					return err
				}
				if t.own == nil {
					return refusedf("room %s was not made here (hint: --home DIR names the home directory that it was made with)", t.ticket.Room)
				}
				return listAdmitted(cmd, *t.own, asJSON)
			}
			rooms, err := h.Rooms()
			if err != nil {
				return err
			}
			if len(rooms) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "wfnode: no room was made here yet\nhint: wfnode create --name NAME")
			}
			w := cmd.OutOrStdout()
			for _, r := range rooms {
				t, err := ownTarget(r)
				if err != nil {
					return err
				}
				if asJSON {
					fmt.Fprintln(w, object([]field{{"event", "room"}, {"room", r.ID.String()}, {"name", r.Name}, {"ticket", t.ticket.String()}}))
					continue
				}
				fmt.Fprintf(w, "%s\n  room: %s\n  ticket: %s\n", r.Name, r.ID, t.ticket)
			}
			return nil
		},
	}
	at.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per room")
	return cmd
}

func roomMembersCommand() *cobra.Command {
	var (
		at     homeFlags
		net    netFlags
		keys   keyFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "members ROOM",
		Short: "List who is in a room, from the DHT",
		Args:  takes(1, 1, "a ROOM: a ticket, a room ID or the name of a room made here"),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := home.Open(at.dir)
			if err != nil {
				return err
			}
			t, err := findTarget(h, args[0])
			if err != nil {
				return err
			}
			n, err := net.parse(cmd, t.ticket.Bootstrap)
			if err != nil {
				return err
			}
			if err := keys.load(cmd); err != nil {
				return err
			}
			members, err := listMembers(cmd.Context(), n, h, t, &keys)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			for _, m := range members {
				if asJSON {
					fmt.Fprintln(w, object([]field{{"event", "member"}, {"member", m.Peer.String()}, {"roles", m.Roles}, {"since", m.Since.UTC().Format(time.RFC3339)}}))
					continue
				}
				fmt.Fprintf(w, "%s  %s  since %s\n", m.Peer, strings.Join(m.Roles, "+"), m.Since.Local().Format(time.DateTime))
			}
			return nil
		},
	}
	at.add(cmd.Flags())
	net.add(cmd.Flags())
	keys.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per member")
	return cmd
}

// listMembers asks the DHT through a host that lives no longer than that.
func listMembers(ctx context.Context, n network, h *home.Home, t target, keys *keyFlags) (members []dht.Member, err error) {
	err = withHost(ctx, n, func(ctx context.Context, host *dht.Host) error {
		if t.own != nil {
			keys.keys = keptKeys(h)
		}
		room, err := keys.open(ctx, host, t.ticket.Room)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, membersTime)
		defer cancel()
		members, err = host.Members(ctx, room)
		return err
	})
	slices.SortFunc(members, func(a, b dht.Member) int { return strings.Compare(a.Peer.String(), b.Peer.String()) })
	return members, err
}
