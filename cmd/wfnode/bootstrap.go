package main

import (
	"errors"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/node"
)

// bootstrapListen are the addresses of a volunteer that names none: the port must stay
// the same, since the address is in people's tickets. TCP and WebSocket share a port.
var bootstrapListen = [...]string{
	"/ip4/0.0.0.0/udp/4001/quic-v1", "/ip6/::/udp/4001/quic-v1",
	"/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001",
	"/ip4/0.0.0.0/tcp/4001/ws", "/ip6/::/tcp/4001/ws",
}

func bootstrapCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Volunteer: help others find each other",
		Long: `Run a bootstrap node: it keeps records of the DHT, relays sealed gossip and answers
STUN. It never carries media and cannot read what it relays. Its address lines are what
others give to --bootstrap.`,
		Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return runBootstrap(cmd, &f) },
	}
	f.add(cmd.Flags())
	return cmd
}

// frugalGC collects garbage twice as often as usual: memory is what a small server lacks,
// and 1,000 peers leave its CPU at a few percent. (make load)
const frugalGC = 50

func runBootstrap(cmd *cobra.Command, f *nodeFlags) (err error) {
	if f.metered {
		return usagef("--metered: a bootstrap node serves others all day (hint: volunteer where traffic is not counted)")
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(frugalGC)
	}
	if len(f.listen) == 0 {
		f.listen = bootstrapListen[:]
	}
	n, err := f.parse(cmd, nil)
	if err != nil {
		return err
	}
	stun, err := listenSTUN(f.stunListen, n, n.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stun.close()) }()
	r, err := f.startNode(cmd, n, func(c *node.Config) { c.Volunteer = true })
	if err != nil {
		return err
	}
	defer r.finish(&err)
	if stun != nil {
		r.out.say("stun", stun.addr())
	}
	r.out.say("ready", "")
	<-cmd.Context().Done()
	return nil
}
