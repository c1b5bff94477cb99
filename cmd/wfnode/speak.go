package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/node/home"
)

// defaultRTSP is where speak --input rtsp takes the stream.
const defaultRTSP = "127.0.0.1:8554"

// warnAfter is how long the bootstrap nodes may take before the speaker is told.
const warnAfter = 10 * time.Second

type speakFlags struct {
	nodeFlags
	input, name string
	loop        bool
	start       time.Duration
}

func speakCommand() *cobra.Command {
	var f speakFlags
	cmd := &cobra.Command{
		Use:   "speak [ROOM]",
		Short: "Publish a stream into a room",
		Long: `Publish a stream into a room: one named by ticket, ID or, if it was made here, by
name. Without ROOM an open room called --name is made, or used again if it is there.`,
		Example: `  wfnode speak --input test
  wfnode speak --input rtsp    # then: ffmpeg -re -i FILE … -f rtsp rtsp://127.0.0.1:8554/current
  wfnode speak --input file:talk.mkv --loop
  ffmpeg … -c:v libx264 -bf 0 -c:a libopus -f matroska - | wfnode speak --input file:-
  wfnode speak --input whip    # then: open the console's page, or point OBS at /whip/current`,
		Args: takes(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.checkInput(cmd.InOrStdin()); err != nil {
				return err
			}
			if f.input == "rtsp" && f.rtsp == "" {
				f.rtsp = defaultRTSP
			}
			return f.run(cmd, strings.Join(args, ""))
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&f.input, "input", "test", "what to publish: test (the built-in clip), whip, rtsp, or file:`PATH` (MP4, Matroska, WebM, IVF, Ogg Opus, MPEG-TS; - is standard input)")
	cmd.Flags().StringVar(&f.name, "name", "", "name of the room made without ROOM (default: this machine's)")
	cmd.Flags().BoolVar(&f.loop, "loop", false, "play the file again and again")
	f.addRelay(cmd.Flags())
	f.alone = true
	cmd.Flags().DurationVar(&f.start, "start", 0, "leave out that much of the file's beginning, like 1m30s")
	return cmd
}

func (f *speakFlags) checkInput(stdin io.Reader) error {
	path, isFile := strings.CutPrefix(f.input, filePrefix)
	switch {
	case !isFile && (f.loop || f.start != 0):
		return usagef("--loop and --start belong to a file (hint: --input file:PATH)")
	case isFile && f.start < 0:
		return usagef("--start %v is before the file's beginning", f.start)
	case isFile:
		return checkFile(path, f.loop, stdin)
	case f.input == "test" || f.input == "whip" || f.input == "rtsp":
		return nil
	}
	return usagef("--input %q is no input (hint: test, whip, rtsp or file:PATH)", f.input)
}

func (f *speakFlags) run(cmd *cobra.Command, arg string) (err error) {
	h, err := home.Open(f.dir)
	if err != nil {
		return err
	}
	var t target
	if arg != "" {
		if t, err = findTarget(h, arg); err != nil {
			return err
		}
	} else if t, err = f.namedRoom(h); err != nil {
		return err
	}
	n, err := f.parse(cmd, t.ticket.Bootstrap)
	if err != nil {
		return err
	}
	r, err := f.startNode(cmd, n, nil)
	if err != nil {
		return err
	}
	defer r.finish(&err)
	room, err := f.room(cmd.Context(), r, t)
	if err != nil {
		return err
	}
	if !room.MaySpeak(r.node.ID()) {
		return refusedf("%s is not a speaker of room %q (hint: the room's maker decides who speaks; wfnode create --anyone-speaks makes a room for all)", r.node.ID(), room.Name)
	}
	if r.asks && room.ManySpeak() {
		if err := r.askRelay(cmd.Context(), &f.nodeFlags, true); err != nil {
			return err
		}
		r.node.SetRelay(r.relays)
	}
	r.out.say("room", room.ID.String())
	r.out.say("ticket", r.node.Ticket(room).String())
	return r.until(cmd.Context(), "", func(ctx context.Context) error {
		return f.speak(ctx, r, n, room)
	})
}

// namedRoom is the room of this node that a speaker means who names none: of --name,
// or to be made (a target without ticket).
func (f *speakFlags) namedRoom(h *home.Home) (target, error) {
	if f.name == "" {
		f.name = hostName()
	}
	if err := home.CheckName(f.name); err != nil {
		return target{}, usagef("%w", err)
	}
	own, err := h.Room(f.name)
	if errors.Is(err, home.ErrNoRoom) {
		return target{}, nil
	}
	if err != nil {
		return target{}, err
	}
	return ownTarget(own)
}

// room opens the target, or makes it.
func (f *speakFlags) room(ctx context.Context, r *running, t target) (*dht.Room, error) {
	if t.ticket.Room != "" {
		return openTarget(ctx, r.home, r.node.Host(), t, &f.keyFlags)
	}
	kept, err := newRoom(f.name, r.node.ID(), false)
	if err != nil {
		return nil, err
	}
	room, err := signRoom(&kept)
	if err != nil {
		return nil, err
	}
	return room.WithKeys(keptKeys(r.home)), r.home.AddRoom(kept)
}

// speak publishes, and beside it sees to it that the room can be found.
func (f *speakFlags) speak(ctx context.Context, r *running, n network, room *dht.Room) error {
	ctx, cancel := context.WithCancel(ctx)
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		announce(ctx, r, n, room)
	}()
	c := node.SpeakConfig{Room: room, Input: f.input}
	if path, isFile := strings.CutPrefix(f.input, filePrefix); isFile {
		c.Input, c.Feed = "file", f.playFile(r.out, path, n.log.With("part", "file"))
	}
	err := r.node.Speak(ctx, c)
	cancel()
	<-announced
	return err
}

// announce puts the room's record as soon as a bootstrap node answers. A speaker
// without one goes on: listeners on its LAN may find it, and the bootstrap node may come back.
func announce(ctx context.Context, r *running, n network, room *dht.Room) {
	if len(n.contacts) == 0 {
		r.ready()
		return
	}
	host := r.node.Host()
	first, cancel := context.WithTimeout(ctx, warnAfter)
	err := host.Bootstrapped(first)
	cancel()
	if err == nil {
		err = host.PutRoom(ctx, room)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.out.warn("going on, but nobody can look the room up yet", err)
	}
	r.ready()
	if err != nil && host.Bootstrapped(ctx) == nil {
		if err := host.PutRoom(ctx, room); err != nil && ctx.Err() == nil {
			n.log.Warn("the room's record could not be put; it is tried again later", "err", err)
		}
	}
}

// hostName names what a person has not named.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || home.CheckName(name) != nil {
		return "waterfall"
	}
	return name
}
