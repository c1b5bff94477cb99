// Command load hangs many peers on one bootstrap node on loopback, all taking part in
// rooms, and says what that costs the bootstrap node. `make load` runs it.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/node"
)

// limitMiB is what a bootstrap node may take with 1,000 peers.
const limitMiB = 224

// doors are the addresses at which the bootstrap node may listen.
var doors = map[string]string{
	"quic": "/ip4/127.0.0.1/udp/0/quic-v1", "tcp": "/ip4/127.0.0.1/tcp/0", "ws": "/ip4/127.0.0.1/tcp/0/ws",
}

func main() {
	peers := flag.Int("peers", 1000, "how many")
	rooms := flag.Int("rooms", 20, "in how many rooms")
	by := flag.String("by", "quic", "how they come: quic, tcp or ws")
	slots := flag.Bool("slots", false, "each peer takes a slot of the circuit relay (by quic)")
	hold := flag.Duration("hold", time.Minute, "for how long after all have come")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Arg(0), *by, *peers, *rooms, *slots, *hold); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program, by string, peers, rooms int, slots bool, hold time.Duration) error {
	if program == "" || rooms < 1 || peers < rooms || doors[by] == "" {
		return errors.New("usage: load [-peers N] [-rooms N] [-by quic|tcp|ws] [-slots] [-hold D] WFNODE")
	}
	v, err := volunteer(program, doors[by])
	if err != nil {
		return err
	}
	defer v.stop()
	crowd := crowd{boot: v.addr, slots: slots}
	defer crowd.leave()
	fmt.Printf("%-22s %8s %10s %12s %10s\n", "", "peers", "MiB", "CPU s", "CPU share")
	before := v.look()
	v.print("idle", before, before)
	start := time.Now()
	if err := crowd.come(ctx, peers, rooms); err != nil {
		return err
	}
	all := v.look()
	v.print(fmt.Sprintf("all came in %.1f s", time.Since(start).Seconds()), before, all)
	most := all.rss
	for end := time.Now().Add(hold); time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-time.After(hold / 4):
		case <-ctx.Done():
		}
		now := v.look()
		v.print("", all, now)
		most = max(most, now.rss)
	}
	now := v.look()
	fmt.Printf("\n%d of %d peers connected, %d heads heard by %d members; most memory %d MiB (limit %d), %.0f ms of CPU a second\n",
		now.connected, peers, crowd.heard.Load(), peers, most>>20, limitMiB, 1000*(now.cpu-all.cpu).Seconds()/now.at.Sub(all.at).Seconds())
	switch {
	case now.connected < peers*99/100:
		return errors.New("verdict: FAILED, peers are missing")
	case most > limitMiB<<20:
		return errors.New("verdict: FAILED, too much memory")
	}
	fmt.Println("verdict: ok")
	return nil
}

// bootstrap is the bootstrap node under load.
type bootstrap struct {
	cmd     *exec.Cmd
	home    string
	console string
	addr    peer.AddrInfo
}

func volunteer(program, listen string) (*bootstrap, error) {
	home, err := os.MkdirTemp("", "wfnode-load-")
	if err != nil {
		return nil, err
	}
	v := &bootstrap{home: home}
	v.cmd = exec.Command(program, "bootstrap", "--home", home, "--listen", listen, "--mdns=false",
		"--stun", "none", "--console", "127.0.0.1:0")
	v.cmd.Stderr = os.Stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := v.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the bootstrap node: %w", err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "address":
			a, err := ma.NewMultiaddr(value)
			if err != nil {
				return nil, err
			}
			ai, err := peer.AddrInfoFromP2pAddr(a)
			if err != nil {
				return nil, err
			}
			v.addr = *ai
		case "console":
			v.console = value
		case "ready":
			return v, nil
		}
	}
	v.stop()
	return nil, errors.New("the bootstrap node ended before it was ready")
}

func (v *bootstrap) stop() {
	v.cmd.Process.Signal(syscall.SIGTERM)
	v.cmd.Wait()
	os.RemoveAll(v.home)
}

// usage is what the bootstrap node has used up to a time.
type usage struct {
	at        time.Time
	connected int
	rss       int // bytes
	cpu       time.Duration
}

func (v *bootstrap) look() usage {
	u := usage{at: time.Now()}
	if resp, err := http.Get(v.console + "api/v1/status"); err == nil {
		var st node.Status
		if json.NewDecoder(resp.Body).Decode(&st) == nil {
			u.connected = st.DHT.Connected
		}
		resp.Body.Close()
	}
	proc := fmt.Sprintf("/proc/%d/", v.cmd.Process.Pid)
	if b, err := os.ReadFile(proc + "statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.Atoi(f[1])
			u.rss = pages * os.Getpagesize()
		}
	}
	if b, err := os.ReadFile(proc + "stat"); err == nil {
		// utime and stime are the 12th and 13th field after the name, in 1/100 s (proc(5)).
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 12 {
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			u.cpu = time.Duration(user+system) * 10 * time.Millisecond
		}
	}
	return u
}

func (v *bootstrap) print(what string, since, now usage) {
	share := "–"
	if s := now.at.Sub(since.at).Seconds(); s > 0 {
		share = fmt.Sprintf("%.1f%%", 100*(now.cpu-since.cpu).Seconds()/s)
	}
	fmt.Printf("%-22s %8d %10d %12.1f %10s\n", what, now.connected, now.rss>>20, now.cpu.Seconds(), share)
}

// crowd are the peers: DHT clients, each a member of one room that listens for heads.
type crowd struct {
	boot    peer.AddrInfo
	slots   bool // each takes one
	heard   atomic.Int64
	mu      sync.Mutex
	hosts   []*dht.Host
	members []*dht.Presence
	wg      sync.WaitGroup
	cancel  context.CancelFunc
}

// atOnce is how many peers come at the same moment.
const atOnce = 16

func (c *crowd) come(ctx context.Context, peers, rooms int) error {
	ctx, c.cancel = context.WithCancel(ctx)
	var all []*dht.Room
	for i := range rooms {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			return err
		}
		r, err := dht.CreateRoom(key, dht.RoomOptions{Name: fmt.Sprint("room ", i), AnyoneSpeaks: true, Now: time.Now()})
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	slots := make(chan struct{}, atOnce)
	errs := make(chan error, peers)
	var coming sync.WaitGroup
	for i := range peers {
		slots <- struct{}{}
		coming.Go(func() {
			defer func() { <-slots }()
			if err := c.one(ctx, all[i%rooms], i, i < rooms); err != nil {
				errs <- err
			}
		})
	}
	coming.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// one peer comes; the first of each room speaks, that is: it puts the room's record and
// a head every two seconds.
func (c *crowd) one(ctx context.Context, r *dht.Room, i int, speaks bool) error {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return err
	}
	cfg, from := dht.Config{Key: key, Bootstrap: []peer.AddrInfo{c.boot}}, netip.AddrFrom4([4]byte{127, 0, 0, 1})
	var own host.Host
	if c.slots {
		from = homeOf(i)
		cfg.Libp2p = atHome(from, &own)
	}
	any, err := ma.NewMultiaddr("/ip4/" + from.String() + "/udp/0/quic-v1")
	if err != nil {
		return err
	}
	cfg.Listen = []ma.Multiaddr{any}
	h, err := dht.New(ctx, cfg)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.hosts = append(c.hosts, h)
	c.mu.Unlock()
	boot, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := h.Bootstrapped(boot); err != nil {
		return err
	}
	if c.slots {
		if _, err := client.Reserve(boot, own, c.boot); err != nil {
			return fmt.Errorf("take a slot of the circuit relay: %w", err)
		}
	}
	p, err := h.Enter(r, dht.Member{Peer: h.ID(), Name: "load", Since: time.Now(), Roles: []string{"listener"}})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.members = append(c.members, p)
	c.mu.Unlock()
	p.Watch(!speaks, nil)
	c.wg.Go(func() {
		for {
			select {
			case _, ok := <-p.Heads():
				if !ok {
					return
				}
				c.heard.Add(1)
			case <-ctx.Done():
				return
			}
		}
	})
	if !speaks {
		return nil
	}
	if err := h.PutRoom(ctx, r); err != nil {
		return err
	}
	c.wg.Go(func() {
		head := dht.Head{Speaker: h.ID()}
		rand.Read(head.Stream[:])
		for tick := time.NewTicker(2 * time.Second); ; {
			head.Seq++
			p.PublishHead(head)
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	})
	return nil
}

func (c *crowd) leave() {
	if c.cancel != nil {
		c.cancel()
	}
	c.wg.Wait()
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, h := range c.hosts {
		slots <- struct{}{}
		all.Go(func() { h.Close(); <-slots })
	}
	all.Wait()
}
