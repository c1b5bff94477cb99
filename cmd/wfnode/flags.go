package main

import (
	"log/slog"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node"
)

// streamRate is what one child is reckoned to take of a measured uplink: a stream of 2.5 Mbit/s,
// the rate that the documentation's figures are for.
const streamRate = 2.5e6

// maxSlots bounds --slots: beyond it a process is more likely mistaken than that strong.
const maxSlots = 256

// maxViewers bounds --viewers likewise.
const maxViewers = 10_000

// homeFlags are those of every command that uses a home directory.
type homeFlags struct {
	dir string
}

func (f *homeFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.dir, "home", "", "directory of identity, room keys and config.toml (default: wfnode in the XDG data directory)")
}

// netFlags are those of every command that takes part in the DHT.
type netFlags struct {
	listen, bootstrap   []string
	mdns                bool
	signal              string
	logLevel, logFormat string
}

func (f *netFlags) add(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.listen, "listen", nil, "`MULTIADDR` to listen on, repeatable (default: any free port)")
	fs.StringSliceVar(&f.bootstrap, "bootstrap", nil, "`MULTIADDR` of a bootstrap node, repeatable, or none (default: those of the ticket)")
	fs.BoolVar(&f.mdns, "mdns", true, "find nodes of the same LAN")
	fs.StringVar(&f.signal, "signal", "both", "carrier of offers and answers: both, gossip or dht")
	fs.StringVar(&f.logLevel, "log-level", "warn", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json, on standard error")
}

// network is netFlags understood.
type network struct {
	listen    []ma.Multiaddr
	bootstrap []ma.Multiaddr // with /p2p/
	contacts  []peer.AddrInfo
	mdns      bool
	signal    dht.Signal
	log       *slog.Logger
}

// parse reads the flags; hints are the addresses that come with a ticket, used besides
// those given unless there are to be none.
func (f *netFlags) parse(cmd *cobra.Command, hints []ma.Multiaddr) (network, error) {
	n := network{mdns: f.mdns, signal: dht.Signal(f.signal)}
	switch n.signal {
	case dht.Both, dht.Gossip, dht.DHT:
	default:
		return n, usagef("--signal %q is no carrier (hint: both, gossip or dht)", f.signal)
	}
	var err error
	if n.log, err = newLog(cmd.ErrOrStderr(), f.logLevel, f.logFormat); err != nil {
		return n, err
	}
	adoptLibraries(n.log)
	if n.listen, err = parseListen(f.listen); err != nil {
		return n, err
	}
	if n.bootstrap, err = parseBootstrap(f.bootstrap); err != nil {
		return n, err
	}
	if !isNone(f.bootstrap) {
		n.bootstrap = ma.Unique(append(n.bootstrap, hints...))
	}
	if n.contacts, err = peer.AddrInfosFromP2pAddrs(n.bootstrap...); err != nil {
		return n, usagef("bootstrap addresses: %w (hint: each ends in /p2p/12D3Koo…)", err)
	}
	return n, nil
}

// nodeFlags are those of every command that runs a node.
type nodeFlags struct {
	homeFlags
	netFlags
	keyFlags
	stun                  []string
	console, rtsp, uplink string
	slots, viewers        int
	mediaPorts, history   string
	tokenFile, stunListen string
	json, pprof, mapPorts bool
	metered, yes          bool
	noRelay               bool // not of a bootstrap node
	asks                  bool // whoever runs this node is asked whether it may pass on what others speak …
	alone                 bool // … but only where others may
}

func (f *nodeFlags) add(fs *pflag.FlagSet) {
	f.homeFlags.add(fs)
	f.netFlags.add(fs)
	fs.StringSliceVar(&f.stun, "stun", nil, "STUN server `HOST:PORT`, repeatable, or none (default: the bootstrap nodes', then two public ones)")
	fs.StringVar(&f.console, "console", "127.0.0.1:7480", "`ADDR` of the web page and API, port 0 for any free, or none")
	fs.StringVar(&f.rtsp, "rtsp", "", "`ADDR` to serve RTSP on (default: none; 127.0.0.1:8554 for speak --input rtsp)")
	fs.IntVar(&f.slots, "slots", 4, "how many nodes to pass a stream on to; 0 for none")
	fs.StringVar(&f.uplink, "uplink", "", "`RATE` that may be sent, like 10mbps: a slot for each 2.5 Mbit/s unless --slots is given")
	fs.StringVar(&f.mediaPorts, "media-ports", "", "range of UDP ports `A-B` for media links (default: any)")
	fs.BoolVar(&f.mapPorts, "map-ports", true, "ask the router to open our ports, by UPnP or NAT-PMP (for media: the first 64 of --media-ports)")
	fs.StringVar(&f.history, "history", "16MiB", "memory for each stream's last packets")
	fs.IntVar(&f.viewers, "viewers", 256, "how many browsers and players this node plays to at once; 0 for none")
	fs.StringVar(&f.tokenFile, "token-file", "", "`FILE` with the token that WHIP and API ask for; needed for a console beyond loopback")
	fs.StringVar(&f.stunListen, "stun-listen", "", "`ADDR` where a bootstrap node answers STUN, or none (default: port 3478)")
	fs.BoolVar(&f.metered, "metered", false, "the network costs by volume: pass on nothing of others (a speaker: feed one node), serve no DHT")
	fs.BoolVar(&f.yes, "yes", false, "agree to passing on what others speak, without being asked")
	fs.BoolVar(&f.pprof, "pprof", false, "serve Go's profiles on the console, at /debug/pprof/")
	fs.BoolVar(&f.json, "json", false, "one JSON object per event on standard output")
	f.keyFlags.add(fs)
}

// nodeConfig reads the flags into a node's configuration.
func (f *nodeFlags) nodeConfig(cmd *cobra.Command, n network) (node.Config, error) {
	c := node.Config{
		Listen: n.listen, Bootstrap: n.contacts, MDNS: n.mdns, Signal: n.signal,
		MapPorts: f.mapPorts, Metered: f.metered, OwnOnly: f.noRelay || f.metered, Version: buildVersion(), Log: n.log,
	}
	var err error
	if c.STUN, err = stunServers(f.stun, n.bootstrap); err != nil {
		return c, err
	}
	if c.Slots, err = f.slotCount(cmd.Flags().Changed("slots")); err != nil {
		return c, err
	}
	if c.Uplink, err = f.uplinkRate(); err != nil {
		return c, err
	}
	if c.MediaPortMin, c.MediaPortMax, err = parsePorts(f.mediaPorts); err != nil {
		return c, usagef("--media-ports: %w", err)
	}
	if c.HistoryBytes, err = parseSize(f.history); err != nil {
		return c, usagef("--history: %w", err)
	}
	switch {
	case f.viewers < 0 || f.viewers > maxViewers:
		return c, usagef("--viewers %d is out of range (hint: 0 to %d)", f.viewers, maxViewers)
	case f.viewers == 0:
		c.Viewers = -1
	default:
		c.Viewers = f.viewers
	}
	if c.HistoryBytes < 1<<20 {
		return c, usagef("--history %s is too small (hint: 1MiB at least, 16MiB is well)", f.history)
	}
	return c, nil
}

// addRelay adds the flags of the commands whose node may pass on what others speak.
func (f *nodeFlags) addRelay(fs *pflag.FlagSet) {
	f.asks = true
	fs.BoolVar(&f.noRelay, "no-relay", false, "do not pass on what others speak")
}

// slotCount is node.Config's Slots: given, or 0 for as many as the uplink carries.
func (f *nodeFlags) slotCount(given bool) (int, error) {
	switch {
	case f.slots < 0 || f.slots > maxSlots:
		return 0, usagef("--slots %d is out of range (hint: 0 to %d)", f.slots, maxSlots)
	case given && f.slots == 0:
		return -1, nil
	case given:
		return f.slots, nil
	case f.metered:
		return 1, nil
	}
	return 0, nil
}

// uplinkRate is node.Config's Uplink.
func (f *nodeFlags) uplinkRate() (float64, error) {
	if f.uplink == "" {
		return 0, nil
	}
	rate, err := parseRate(f.uplink)
	if err != nil {
		return 0, usagef("--uplink: %w", err)
	}
	return rate, nil
}
