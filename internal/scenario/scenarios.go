package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// churn: for a minute, every three seconds a listener is killed or comes.
func churn(ctx context.Context, l *lab, listeners int) error {
	if err := settle(ctx, l, listeners); err != nil {
		return err
	}
	stay := "listener-01"
	killed, came := 0, 0
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && ctx.Err() == nil; wait(ctx, 3*time.Second) {
		var list []string
		for _, s := range l.look(ctx) {
			if s.name != stay && s.name != "speaker" {
				list = append(list, s.name)
			}
		}
		if len(list) > listeners*3/4 && rand.IntN(2) == 0 {
			victim := list[rand.IntN(len(list))]
			if err := l.kill(ctx, victim); err != nil {
				return err
			}
			killed++
			continue
		}
		came++
		if err := l.listeners(ctx, fmt.Sprintf("listener-new%02d-", came), 1); err != nil {
			return err
		}
	}
	fmt.Printf("%d listeners killed, %d came\n", killed, came)
	if err := l.allLive(ctx, 15*time.Second); err != nil {
		return err
	}
	return l.lossBelow(ctx, 0.001)
}

// partition: half of the listeners are cut off from the rest for 12 s.
func partition(ctx context.Context, l *lab, listeners int) error {
	if err := settle(ctx, l, listeners); err != nil {
		return err
	}
	var cut, ips []string
	for i := range listeners / 2 {
		name := fmt.Sprintf("listener-%02d", 2*i+1)
		ip, err := l.address(ctx, name)
		if err != nil {
			return err
		}
		cut, ips = append(cut, name), append(ips, ip)
	}
	if err := each(cut, func(i int) error {
		return inside(ctx, l, cut[i], fmt.Sprintf(`
			table inet cut {
				chain in {
					type filter hook input priority 0
					ip saddr { %s } accept
					iif lo accept
					drop
				}
			}`, strings.Join(ips, ", ")))
	}); err != nil {
		return err
	}
	wait(ctx, 6*time.Second)
	for _, s := range l.look(ctx) {
		if !slices.Contains(cut, s.name) && !s.live() {
			fmt.Println(s.name, "on the speaker's side is not live during the partition")
		}
	}
	wait(ctx, 6*time.Second)
	healed := time.Now()
	if err := each(cut, func(i int) error { return inside(ctx, l, cut[i], "delete table inet cut") }); err != nil {
		return err
	}
	if err := l.allLive(ctx, 30*time.Second); err != nil {
		return err
	}
	fmt.Printf("%d of %d listeners were cut off for 12 s; all live again %.1f s after\n", len(cut), listeners, time.Since(healed).Seconds())
	return nil
}

// nat: a third of the listeners is reachable, a third behind NATs that map alike for
// everybody, a third behind symmetric ones; each behind a router of its own.
func nat(ctx context.Context, l *lab, listeners int) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	open := listeners / 3
	if err := l.listeners(ctx, "listener-open", open); err != nil {
		return err
	}
	if err := l.allLive(ctx, 30*time.Second); err != nil {
		return err
	}
	stun := []string{"--mdns=false", "--map-ports=false"}
	for _, b := range l.boots {
		stun = append(stun, "--bootstrap", b, "--stun", strings.Split(b, "/")[2]+":3478")
	}
	for i := range listeners - open {
		kind, how := "cone", "masquerade"
		if i%2 == 1 {
			kind, how = "sym", "masquerade random,fully-random"
		}
		if err := l.behindNAT(ctx, fmt.Sprintf("listener-%s%02d", kind, i/2+1), i, how, append([]string{"join", l.room}, stun...)); err != nil {
			return err
		}
	}
	if err := l.allLive(ctx, time.Minute); err != nil {
		return err
	}
	return l.lossBelow(ctx, 0.001)
}

// behindNAT starts a node in a network of its own, with a router that is a container too.
func (l *lab) behindNAT(ctx context.Context, name string, i int, how string, args []string) error {
	home := l.full(fmt.Sprintf("home%02d", i))
	if err := l.network(ctx, home, "--subnet", fmt.Sprintf("10.99.%d.0/28", i)); err != nil {
		return err
	}
	router := fmt.Sprintf("router%02d", i)
	// What runs in it does not matter: it holds the network namespace.
	if _, err := l.run(ctx, router, []string{"--sysctl", "net.ipv4.ip_forward=1"},
		"bootstrap", "--listen", "/ip4/127.0.0.1/udp/4001/quic-v1", "--stun", "none", "--mdns=false", "--map-ports=false", "--console", "none"); err != nil {
		return err
	}
	inner := fmt.Sprintf("10.99.%d.14", i)
	if _, err := docker(ctx, "network", "connect", "--ip", inner, home, l.full(router)); err != nil {
		return err
	}
	if err := inside(ctx, l, router, fmt.Sprintf(`
		table ip nat {
			chain post {
				type nat hook postrouting priority 100
				ip saddr 10.99.%d.0/28 ip daddr != 10.99.0.0/16 %s
			}
		}
		table inet wall {
			chain through {
				type filter hook forward priority 0
				ct state established,related accept
				ip saddr 10.99.%d.0/28 accept
				drop
			}
		}`, i, how, i)); err != nil {
		return err
	}
	// The node must have its route before it looks for anybody.
	hold := l.full("ns-" + name)
	if _, err := docker(ctx, "run", "-d", "--label", l.id, "--name", hold, "--network", home, image,
		"bootstrap", "--listen", "/ip4/127.0.0.1/udp/4001/quic-v1", "--stun", "none", "--mdns=false", "--map-ports=false", "--console", "none"); err != nil {
		return err
	}
	if err := enter(ctx, hold, nil, "ip", "route", "replace", "default", "via", inner); err != nil {
		return err
	}
	_, err := l.runShared(ctx, name, hold, args...)
	return err
}

// flashcrowd: everybody comes at the same moment.
func flashcrowd(ctx context.Context, l *lab, listeners int) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := l.listeners(ctx, "listener-", listeners); err != nil {
		return err
	}
	up := time.Since(start)
	if err := l.allLive(ctx, 30*time.Second); err != nil {
		return err
	}
	var frames []float64
	for _, s := range l.look(ctx) {
		if s.stream != nil && s.stream.Role != "speaker" && s.stream.Join.FirstFrameMS != nil {
			frames = append(frames, *s.stream.Join.FirstFrameMS)
		}
	}
	if len(frames) == 0 {
		return errors.New("nobody has seen a picture")
	}
	slices.Sort(frames)
	fmt.Printf("%d listeners within %.1f s (docker's time); first frame after a node's start: median %.0f ms, slowest %.0f ms; all seen live %.1f s after the first came\n",
		listeners, up.Seconds(), frames[len(frames)/2], frames[len(frames)-1], time.Since(start).Seconds())
	wait(ctx, 5*time.Second)
	return l.lossBelow(ctx, 0.001)
}

// volunteerDies: one bootstrap node is killed and others still join; then the last, and
// the stream goes on.
func volunteerDies(ctx context.Context, l *lab, listeners int) error {
	if err := settle(ctx, l, listeners-3); err != nil {
		return err
	}
	if err := l.kill(ctx, "bootstrap1"); err != nil {
		return err
	}
	start := time.Now()
	if err := l.listeners(ctx, "listener-late", 3); err != nil {
		return err
	}
	if err := l.allLive(ctx, 30*time.Second); err != nil {
		return fmt.Errorf("with one bootstrap node dead: %w", err)
	}
	fmt.Printf("with one of two bootstrap nodes dead, three more were live %.1f s later\n", time.Since(start).Seconds())
	if err := l.kill(ctx, "bootstrap2"); err != nil {
		return err
	}
	wait(ctx, 20*time.Second)
	if err := l.allLive(ctx, 10*time.Second); err != nil {
		return fmt.Errorf("with both bootstrap nodes dead: %w", err)
	}
	fmt.Println("20 s after the last bootstrap node's death everybody is live")
	return l.lossBelow(ctx, 0.001)
}

// settle starts the network and waits until everybody is live.
func settle(ctx context.Context, l *lab, listeners int) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	if err := l.listeners(ctx, "listener-", listeners); err != nil {
		return err
	}
	return l.allLive(ctx, time.Minute)
}

// lossBelow: of all packets that came to listeners, at most this share was lost.
func (l *lab) lossBelow(ctx context.Context, most float64) error {
	var received, lost uint64
	for _, s := range l.look(ctx) {
		r, n, _ := s.sums()
		received += r
		lost += n
	}
	if received == 0 {
		return errors.New("nothing was received")
	}
	share := float64(lost) / float64(received+lost)
	fmt.Printf("%d of %d packets were lost\n", lost, received+lost)
	if share > most {
		return fmt.Errorf("%.2f%% of the packets were lost (limit %.2f%%)", share*100, most*100)
	}
	return nil
}
