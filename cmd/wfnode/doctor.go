package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/node/home"
)

// doctorTime bounds the whole examination.
const doctorTime = 4500 * time.Millisecond

// ntpServers tell the time to who names no other.
var ntpServers = [...]string{"time.cloudflare.com:123", "pool.ntp.org:123"}

// grade is what doctor thinks of one thing.
type grade string

const (
	good    grade = "good"
	fair    grade = "fair"
	bad     grade = "bad"
	unknown grade = "unknown"
)

// finding is what doctor has found out about one thing.
type finding struct {
	Name   string `json:"name"`
	Grade  grade  `json:"grade"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do
}

// diagnosis is the whole examination.
type diagnosis struct {
	Event   string    `json:"event"`
	Verdict string    `json:"verdict"`
	Listen  bool      `json:"can_listen"`
	Relay   bool      `json:"can_relay"`
	Slots   *int      `json:"slots"`      // that the measured uplink has room for
	Uplink  *float64  `json:"uplink_bps"` // as measured
	NAT     string    `json:"nat"`        // none, cone, symmetric or unknown
	Checks  []finding `json:"checks"`
}

type doctorFlags struct {
	homeFlags
	netFlags
	stun, ntp      []string
	json, mapPorts bool
}

func doctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor [ROOM]",
		Short: "Find out whether this machine can take part",
		Long: `Examine this machine and its network: UDP, NAT, router, hairpin, IPv6, clock, bootstrap
nodes, uplink, slots and buffers, each with what to do about it. ROOM may be a ticket: its
bootstrap nodes are asked then. Takes 5 s at most; ends with 1 if this machine cannot listen.`,
		Args: takes(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := f.doctor(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			r := d.examine(cmd.Context())
			if f.json {
				fmt.Fprintln(cmd.OutOrStdout(), compact(r))
			} else {
				r.print(cmd.OutOrStdout())
			}
			if !r.Listen {
				return errors.New("this machine cannot take part as it is (hint: see what is bad above)")
			}
			return nil
		},
	}
	f.homeFlags.add(cmd.Flags())
	f.netFlags.add(cmd.Flags())
	cmd.Flags().StringSliceVar(&f.stun, "stun", nil, "STUN server `HOST:PORT`, repeatable, or none (default: the bootstrap nodes', then two public ones)")
	cmd.Flags().StringSliceVar(&f.ntp, "ntp", nil, "time server `HOST:PORT`, repeatable, or none (default: two public ones)")
	cmd.Flags().BoolVar(&f.mapPorts, "map-ports", true, "ask the router whether it opens ports, by UPnP or NAT-PMP")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the findings as one JSON object")
	return cmd
}

// doctor is what to examine.
type doctor struct {
	dir       string
	net       network
	stun, ntp []string
	router    bool   // ask it
	sysctl    string // directory of the kernel's settings
}

func (f *doctorFlags) doctor(cmd *cobra.Command, arg string) (*doctor, error) {
	h, err := home.Open(f.dir)
	if err != nil {
		return nil, err
	}
	var t target
	if arg != "" {
		if t, err = findTarget(h, arg); err != nil {
			return nil, err
		}
	}
	d := &doctor{dir: f.dir, sysctl: "/proc/sys/net/core"}
	if d.net, err = f.parse(cmd, t.ticket.Bootstrap); err != nil {
		return nil, err
	}
	d.router = asksRouter(f.mapPorts, d.net.listen)
	if d.stun, err = stunServers(f.stun, d.net.bootstrap); err != nil {
		return nil, err
	}
	switch {
	case isNone(f.ntp):
	case len(f.ntp) > 0:
		d.ntp = f.ntp
	default:
		d.ntp = ntpServers[:]
	}
	return d, nil
}

// examine does everything at once.
func (d *doctor) examine(ctx context.Context) diagnosis {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	r := diagnosis{Event: "doctor", NAT: "unknown"}
	var router routerSays
	var udp, nat, hairpin, six, clock, boot, uplink, free, buffers finding
	var all sync.WaitGroup
	all.Go(func() {
		p := probe4(ctx, d.stun)
		udp, nat, hairpin = p.judgeUDP(), p.judgeNAT(), p.judgeHairpin()
		r.NAT = p.kind()
	})
	all.Go(func() { six = judgeIPv6(ctx, d.stun) })
	all.Go(func() { clock = judgeClock(ctx, d.ntp) })
	all.Go(func() { boot, uplink = d.askBootstrap(ctx, &r) })
	all.Go(func() { free = d.freeSlots(ctx) })
	if d.router {
		all.Go(func() { router = askRouter(ctx) })
	}
	buffers = judgeBuffers(d.sysctl)
	all.Wait()
	r.Checks = []finding{udp, nat, judgeRouter(router, r.NAT), hairpin, six, clock, boot, uplink, free, buffers}
	r.conclude(udp.Grade, boot.Grade)
	return r
}

// conclude is the plain verdict.
func (r *diagnosis) conclude(udp, boot grade) {
	r.Listen = udp != bad && boot != bad
	r.Relay = r.Listen && (r.Slots == nil || *r.Slots > 0)
	switch {
	case udp == bad:
		r.Verdict = "this machine cannot take part: UDP does not get out"
	case boot == bad:
		r.Verdict = "this machine cannot take part: no bootstrap node can be reached"
	case udp == fair && boot == unknown:
		r.Verdict = "this machine can take part on its own network; nothing beyond it was reached"
	case udp == unknown && boot == unknown:
		r.Verdict = "this machine can take part as far as it knows; nothing beyond it was asked"
	case !r.Relay:
		r.Verdict = "this machine can listen; its uplink is too slow to pass on"
	case r.NAT == "symmetric":
		r.Verdict = "this machine can listen, and pass on to nodes that can be reached from anywhere"
	default:
		r.Verdict = "this machine can speak, listen and pass on"
	}
	if r.Relay && r.Slots != nil {
		r.Verdict += fmt.Sprintf("; its uplink has room for %d others", *r.Slots)
	}
}

func (r diagnosis) print(w io.Writer) {
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%-10s %-8s %s\n", c.Name, c.Grade, c.Found)
		if c.Advice != "" {
			fmt.Fprintf(w, "%-10s %-8s → %s\n", "", "", c.Advice)
		}
	}
	fmt.Fprintf(w, "\nverdict: %s\n", r.Verdict)
}

// askBootstrap connects to the bootstrap nodes as a node does, and measures the uplink there.
func (d *doctor) askBootstrap(ctx context.Context, r *diagnosis) (boot, uplink finding) {
	boot = finding{Name: "bootstrap", Grade: unknown, Found: "none is known", Advice: "--bootstrap MULTIADDR, or give a ticket: wfnode doctor 'waterfall:…'"}
	uplink = finding{Name: "uplink", Grade: unknown, Found: "not measured: no bootstrap node to send to"}
	if len(d.net.contacts) == 0 {
		return boot, uplink
	}
	boot.Advice = ""
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		boot.Found = err.Error()
		return boot, uplink
	}
	host, err := dht.New(ctx, dht.Config{Key: key, Listen: d.net.listen, Bootstrap: d.net.contacts, Log: d.net.log})
	if err != nil {
		boot.Found, boot.Advice = splitHint(err.Error())
		return boot, uplink
	}
	defer host.Close()
	start := time.Now()
	reach, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := host.Bootstrapped(reach); err != nil {
		boot.Grade = bad
		boot.Found, boot.Advice = splitHint(err.Error())
		return boot, uplink
	}
	boot.Grade, boot.Found = good, fmt.Sprintf("connected after %d ms", time.Since(start).Milliseconds())
	bps, err := host.MeasureUplink(ctx)
	if err != nil {
		uplink.Found = brief(err)
		return boot, uplink
	}
	slots := int(bps * uplinkShare / streamRate)
	r.Uplink, r.Slots = &bps, &slots
	uplink.Grade, uplink.Found = good, fmt.Sprintf("%s: room for %d streams of 2.5 Mbit/s", formatRate(bps), slots)
	if slots == 0 {
		uplink.Grade = fair
		uplink.Advice = "wfnode join --no-relay, or ask the speaker for a stream of a lower rate"
	} else if slots < 4 {
		uplink.Grade = fair
		uplink.Advice = fmt.Sprintf("wfnode join --slots %d", slots)
	}
	return boot, uplink
}

// uplinkShare of a line is for the stream: the rest is for what else goes on at home.
const uplinkShare = 0.8

// freeSlots asks the node that runs on this home.
func (d *doctor) freeSlots(ctx context.Context) finding {
	f := finding{Name: "slots", Grade: unknown, Found: "no node runs on this home"}
	base, err := findConsole(d.dir, "", false)
	if err != nil {
		return f
	}
	c := crew{client: http.DefaultClient}
	st, err := c.status(ctx, base.String())
	if err != nil {
		return f
	}
	return judgeSlots(st)
}

func judgeSlots(st node.Status) finding {
	f := finding{Name: "slots", Grade: unknown, Found: "the running node carries no stream"}
	used, most := 0, 0
	for _, r := range st.Rooms {
		for _, s := range r.Streams {
			used += s.Slots.Used
			most += s.Slots.Max
		}
	}
	if most > 0 {
		f.Grade, f.Found = good, fmt.Sprintf("%d of %d free in the running node", most-used, most)
	}
	return f
}

// wantBuffer is the receive buffer that links ask for (4 MiB), and QUIC (7 MiB, rounded
// up as quic-go's documentation does).
const wantBuffer = 7_500_000

func judgeBuffers(sysctl string) finding {
	f := finding{Name: "buffers", Grade: unknown, Found: "not known on " + runtime.GOOS}
	b, err := os.ReadFile(sysctl + "/rmem_max")
	if err != nil {
		return f
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return f
	}
	f.Grade, f.Found = good, fmt.Sprintf("UDP receive buffers up to %d KiB", n>>10)
	if n < wantBuffer {
		f.Grade = fair
		f.Advice = fmt.Sprintf("bursts may be lost: sudo sysctl -w net.core.rmem_max=%d net.core.wmem_max=%d", wantBuffer, wantBuffer)
	}
	return f
}

// judgeClock asks time servers; the first answer counts.
func judgeClock(ctx context.Context, servers []string) finding {
	f := finding{Name: "clock", Grade: unknown, Found: "no time server was asked"}
	if len(servers) == 0 {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	type answer struct {
		offset time.Duration
		err    error
	}
	answers := make(chan answer, len(servers))
	for _, s := range servers {
		go func() {
			offset, err := askTime(ctx, s)
			answers <- answer{offset, err}
		}()
	}
	var err error
	for range servers {
		a := <-answers
		if a.err == nil {
			return judgeOffset(a.offset)
		}
		err = cmp.Or(err, a.err)
	}
	f.Found = "no time server answers: " + brief(err)
	return f
}

// judgeOffset: ages of records are judged by receipt, so an hour does no harm; a day
// makes fresh records look as if they came from far away in time.
func judgeOffset(offset time.Duration) finding {
	f := finding{Name: "clock", Grade: good, Found: fmt.Sprintf("%v off", offset.Round(time.Millisecond))}
	switch off := offset.Abs(); {
	case off > 24*time.Hour:
		f.Grade, f.Advice = bad, "set the clock: rooms look outdated or not yet made"
	case off > time.Hour:
		f.Grade, f.Advice = fair, "set the clock"
	}
	return f
}

// brief is an error in one line without its hint.
func brief(err error) string {
	msg, _ := splitHint(err.Error())
	var op *net.OpError
	if errors.As(err, &op) {
		msg = op.Err.Error()
	}
	return msg
}
