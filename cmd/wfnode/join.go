package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/node/home"
)

// maxDelay bounds --delay: the history holds a few seconds.
const maxDelay = 5 * time.Second

type joinFlags struct {
	nodeFlags
	record string
	delay  time.Duration
	open   bool
}

func joinCommand() *cobra.Command {
	var f joinFlags
	cmd := &cobra.Command{
		Use:   "join ROOM",
		Short: "Listen in a room, and pass on",
		Long: `Listen in a room, named by ticket, ID or, if it was made here, by name, and pass its
streams on to other listeners. The picture is on the console's page.`,
		Args: takes(1, 1, "a ROOM: a ticket, a room ID or the name of a room made here"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.delay < 0 || f.delay > maxDelay {
				return usagef("--delay %v is out of range (hint: 0 to %v)", f.delay, maxDelay)
			}
			if err := checkRecord(f.record); err != nil {
				return err
			}
			return f.run(cmd, args[0])
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&f.record, "record", "", "`FILE`.mkv or .webm to record into")
	cmd.Flags().DurationVar(&f.delay, "delay", 0, "play this much later, to hide what goes wrong above")
	cmd.Flags().BoolVar(&f.open, "open", false, "open the console's page in a browser")
	f.addRelay(cmd.Flags())
	return cmd
}

// checkRecord finds out before anything runs whether a recording could be written.
func checkRecord(path string) error {
	if path == "" {
		return nil
	}
	switch filepath.Ext(path) {
	case ".mkv", ".webm":
	default:
		return usagef("--record %s: the name says no known format (hint: end it in .mkv or .webm)", path)
	}
	if _, err := os.Stat(path); err == nil {
		return usagef("--record %s: the file is there already (hint: choose another name, or move it away)", path)
	}
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return usagef("--record %s: there is no such directory (hint: make it first)", path)
	}
	return nil
}

func (f *joinFlags) run(cmd *cobra.Command, arg string) (err error) {
	h, err := home.Open(f.dir)
	if err != nil {
		return err
	}
	t, err := findTarget(h, arg)
	if err != nil {
		return err
	}
	n, err := f.parse(cmd, t.ticket.Bootstrap)
	if err != nil {
		return err
	}
	if len(n.contacts) == 0 && !n.mdns && (isNone(f.bootstrap) || len(remembered(h, n.log)) == 0) {
		return usagef("nobody to ask for the room: no bootstrap node is known, and --mdns is off (hint: --bootstrap MULTIADDR, or the ticket instead of the bare ID)")
	}
	r, err := f.startNode(cmd, n, nil)
	if err != nil {
		return err
	}
	defer r.finish(&err)
	if f.open && r.console != nil {
		openBrowser(r.console.URL(), n)
	}
	ctx := cmd.Context()
	room, err := openTarget(ctx, r.home, r.node.Host(), t, &f.keyFlags)
	if err != nil {
		return err
	}
	r.out.say("room", room.ID.String())
	r.out.say("ticket", r.node.Ticket(room).String())
	return r.until(ctx, "no one is speaking in the room yet; this node waits", func(ctx context.Context) error {
		return r.node.Join(ctx, node.JoinConfig{Room: room, Record: f.record, Delay: f.delay, Inside: r.ready})
	})
}

// openBrowser shows url if this machine can; a failure is only told to the log, since
// the person sees the URL on the console line anyway.
func openBrowser(url string, n network) {
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	}
	cmd := exec.Command(program, url)
	if err := cmd.Start(); err != nil {
		n.log.Warn("no browser could be opened", "url", url, "err", err)
		return
	}
	go cmd.Wait() // reaps the child; it ends when the browser has been told
}
