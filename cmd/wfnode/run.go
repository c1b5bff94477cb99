package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/node/console"
	"github.com/watergy/waterfall/node/home"
)

// running is a node with what stands around it, until close.
type running struct {
	home    *home.Home
	lock    *home.Lock
	out     *output
	node    *node.Node
	console *console.Server
	asks    bool   // the flags leave it to the person whether this node passes on
	relays  bool   // it does
	notice  string // of what passing on means, or that nothing is; "": nothing to say
	lobby   *lobby // what the page does with rooms; nil: nothing
	rtsp    net.Listener
	forget  context.CancelFunc // ends remember
	written chan struct{}      // closed when that has ended
}

// startNode reads the keys, runs a node as the flags say, and prints the lines that are true by then.
// alter may change the configuration that the flags make.
func (f *nodeFlags) startNode(cmd *cobra.Command, n network, alter func(*node.Config)) (*running, error) {
	if err := f.load(cmd); err != nil {
		return nil, err
	}
	r := &running{out: newOutput(cmd, f.json)}
	cfg, err := f.nodeConfig(cmd, n)
	if err != nil {
		return nil, err
	}
	if alter != nil {
		alter(&cfg)
	}
	if err := r.start(cmd.Context(), f, n, cfg); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// ready says that the node does its job from now on, and what passing on means: nothing has
// been passed on yet.
func (r *running) ready() {
	if r.notice != "" {
		r.out.notice(r.notice)
		if r.relays {
			if err := r.home.SetConsent(home.Told); err != nil {
				r.out.warn("this will be said again", err)
			}
		}
	}
	r.out.say("ready", "")
}

func (r *running) start(ctx context.Context, f *nodeFlags, n network, cfg node.Config) (err error) {
	if r.home, err = home.Open(f.dir); err != nil {
		return err
	}
	if r.lock, err = r.home.Lock(); err != nil {
		return err
	}
	if cfg.Key, err = r.home.Identity(); err != nil {
		return err
	}
	if !isNone(f.bootstrap) {
		cfg.Remembered = remembered(r.home, cfg.Log)
	}
	web, err := listen("console", f.console)
	if err != nil {
		return err
	}
	if r.rtsp, err = listen("rtsp", f.rtsp); err != nil {
		return errors.Join(err, closeListener(web))
	}
	cfg.Recordings = r.home.RecordingsDir()
	if r.asks = f.asks && cfg.Slots >= 0 && !cfg.OwnOnly; r.asks {
		if err := r.askRelay(ctx, f, !f.alone); err != nil {
			return err
		}
		cfg.OwnOnly = !r.relays
	}
	if r.node, err = node.New(ctx, cfg); err != nil {
		return errors.Join(portError(err, "listen"), closeListener(web), closeListener(r.rtsp))
	}
	r.rememberPeers(ctx, cfg)
	r.out.say("peer", r.node.ID().String())
	for _, a := range r.node.Addrs() {
		r.out.say("address", a.String())
	}
	if web != nil {
		if err := r.serveConsole(f, n, cfg, web); err != nil {
			return errors.Join(err, closeListener(r.rtsp))
		}
	}
	if r.rtsp != nil {
		if err := r.node.ServeRTSP(r.rtsp); err != nil {
			return fmt.Errorf("serve RTSP: %w", err)
		}
		r.out.say("rtsp", "rtsp://"+r.rtsp.Addr().String()+"/current")
	}
	return nil
}

func (r *running) rememberPeers(ctx context.Context, cfg node.Config) {
	ctx, r.forget = context.WithCancel(ctx)
	r.written = make(chan struct{})
	go func() {
		defer close(r.written)
		remember(ctx, r.home, r.node.Host(), cfg.Log)
	}()
}

func (r *running) serveConsole(f *nodeFlags, n network, cfg node.Config, l net.Listener) error {
	token := ""
	if f.tokenFile != "" {
		var err error
		if token, err = readSecret(f.tokenFile); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	c := console.Config{Listener: l, Token: token, Profiles: f.pprof, Log: cfg.Log.With("part", "console")}
	if !cfg.Volunteer { // which carries no media
		r.lobby = newLobby(r, n, f.keyFlags.keys)
		c.Rooms, c.Recorder, c.Recordings = r.lobby, r.node, r.home
		if r.asks {
			c.Consent = r.lobby
		}
	}
	var err error
	r.console, err = console.New(r.node, c)
	if errors.Is(err, console.ErrTokenNeeded) {
		err = usagef("--console %s: %w", f.console, err)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	r.out.say("console", r.console.URL())
	return r.home.SetConsole(r.console.URL())
}

// close leaves politely and gives everything back.
func (r *running) close() error {
	var errs []error
	if r.console != nil {
		r.home.ClearConsole()
		errs = append(errs, r.console.Close())
	}
	if r.lobby != nil {
		r.lobby.close()
	}
	if r.forget != nil {
		r.forget()
		<-r.written
	}
	if r.node != nil {
		errs = append(errs, r.node.Close())
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Release())
	}
	return errors.Join(errs...)
}

// finish closes r and puts what went wrong there behind err.
func (r *running) finish(err *error) { *err = errors.Join(*err, r.close()) }

// listen opens the port of flag; an empty address or none means nil.
func listen(flag, addr string) (net.Listener, error) {
	if addr == "" || addr == "none" {
		return nil, nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usagef("--%s %q is not HOST:PORT (hint: like 127.0.0.1:0, or none)", flag, addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, portError(fmt.Errorf("--%s %s: %w", flag, addr, err), flag)
	}
	return l, nil
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// portError adds what to do about a port that is taken. libp2p gives the cause as text only.
func portError(err error, flag string) error {
	if !errors.Is(err, syscall.EADDRINUSE) && !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		return err
	}
	if strings.Contains(err.Error(), "(hint: ") {
		return err
	}
	return fmt.Errorf("%w (hint: another program uses that port; choose another with --%s, port 0 takes any free one)", err, flag)
}

// until waits for the end of what do does in the room, telling meanwhile how the
// room's streams fare.
func (r *running) until(ctx context.Context, waiting string, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		newWatcher(r.out, waiting).run(ctx, r.node.Status)
	}()
	err := do(ctx)
	if errors.Is(err, node.ErrLeft) { // by the page, which stays
		<-ctx.Done()
	}
	interrupted := ctx.Err() != nil
	cancel()
	<-watched
	if interrupted && isCanceled(err) {
		return nil
	}
	return err
}
