package vnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v3"
)

func addr(last byte) netip.Addr { return netip.AddrFrom4([4]byte{1, 2, 3, last}) }

func listen(t *testing.T, h *Host, port uint16) *Conn {
	t.Helper()
	c, err := h.ListenUDP(port)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, c *Conn, to *Conn, payload string) {
	t.Helper()
	if _, err := c.WriteToAddrPort([]byte(payload), to.local); err != nil {
		t.Fatal(err)
	}
}

// heard reads until nothing has come for a second.
func heard(t *testing.T, c *Conn) []string {
	t.Helper()
	var got []string
	buf := make([]byte, 2000)
	for {
		c.SetReadDeadline(time.Now().Add(time.Second))
		n, _, err := c.ReadFromAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(buf[:n]))
	}
}

func TestDelay(t *testing.T) {
	for _, tc := range []struct {
		name string
		a, b HostConfig
		size int
		want time.Duration
	}{
		{"default", HostConfig{}, HostConfig{}, 100, 20 * time.Millisecond},
		{"own", HostConfig{Delay: 3 * time.Millisecond}, HostConfig{Delay: 4 * time.Millisecond}, 100, 7 * time.Millisecond},
		{"none is still a quantum", HostConfig{Delay: -1}, HostConfig{Delay: -1}, 100, time.Millisecond},
		{"rounded up to the quantum", HostConfig{Delay: -1}, HostConfig{Delay: 1500 * time.Microsecond}, 100, 2 * time.Millisecond},
		{"uplink", HostConfig{Up: 80_000}, HostConfig{}, 1000 - overhead, 120 * time.Millisecond},
		{"downlink", HostConfig{}, HostConfig{Down: 80_000}, 1000 - overhead, 120 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			Run(t, Config{DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *Network) {
				a, b := listen(t, n.Host(addr(1), tc.a), 5), listen(t, n.Host(addr(2), tc.b), 5)
				start := time.Now()
				write(t, a, b, string(make([]byte, tc.size)))
				_, from, err := b.ReadFrom(make([]byte, 2000))
				if err != nil || from.String() != a.LocalAddr().String() {
					t.Fatal(from, err)
				}
				if got := time.Since(start); got != tc.want {
					t.Errorf("took %v, want %v", got, tc.want)
				}
			})
		})
	}
}

func TestQueueDropsTheTail(t *testing.T) {
	Run(t, Config{}, func(t *testing.T, n *Network) {
		// 1,000 bytes on the wire take 10 ms; what finds 50 ms in front of it is dropped.
		a := listen(t, n.Host(addr(1), HostConfig{Up: 800_000, Queue: 45 * time.Millisecond}), 5)
		b := listen(t, n.Host(addr(2), HostConfig{}), 5)
		for i := range 10 {
			write(t, a, b, fmt.Sprintf("%0972d", i))
		}
		if got := heard(t, b); len(got) != 5 || got[4] != fmt.Sprintf("%0972d", 4) {
			t.Errorf("%d arrived, want the first 5", len(got))
		}
		if s := n.Stats(); s.QueueDrops != 5 {
			t.Errorf("%+v", s)
		}
	})
}

func TestReceiveBuffer(t *testing.T) {
	Run(t, Config{}, func(t *testing.T, n *Network) {
		a, b := listen(t, n.Host(addr(1), HostConfig{}), 5), listen(t, n.Host(addr(2), HostConfig{}), 5)
		b.SetReadBuffer(2500)
		for range 4 {
			write(t, a, b, string(make([]byte, 1000)))
		}
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		if got := heard(t, b); len(got) != 2 {
			t.Errorf("%d packets of 1,000 bytes in a buffer of 2,500", len(got))
		}
	})
}

// The n-th packet of a flow meets the same fate whatever else goes on.
func TestLossIsSeeded(t *testing.T) {
	run := func(seed uint64, noise bool) (got []string) {
		Run(t, Config{Seed: seed}, func(t *testing.T, n *Network) {
			a, b, c := n.Host(addr(1), HostConfig{Loss: 0.1}), n.Host(addr(2), HostConfig{Loss: 0.1}), n.Host(addr(3), HostConfig{})
			ca, cb, cc := listen(t, a, 5), listen(t, b, 5), listen(t, c, 5)
			for i := range 1000 {
				write(t, ca, cb, fmt.Sprint(i))
				if noise {
					write(t, cc, cb, "noise")
					write(t, ca, cc, "noise")
				}
			}
			got = slices.DeleteFunc(heard(t, cb), func(s string) bool { return s == "noise" })
			if s := n.Stats(); s.Sent != s.Delivered+s.Lost {
				t.Errorf("some packets have no fate: %+v", s)
			}
		})
		return got
	}
	first := run(1, false)
	if len(first) < 770 || len(first) > 850 { // 0.9² of 1,000, σ = 12
		t.Errorf("%d of 1000 arrived at 10%% loss on both lines", len(first))
	}
	if again := run(1, true); !slices.Equal(first, again) {
		t.Error("the same seed gives another loss")
	}
	if other := run(2, false); slices.Equal(first, other) {
		t.Error("another seed gives the same loss")
	}
}

func TestJitterReorders(t *testing.T) {
	Run(t, Config{Seed: 1}, func(t *testing.T, n *Network) {
		a := listen(t, n.Host(addr(1), HostConfig{Jitter: 20 * time.Millisecond}), 5)
		b := listen(t, n.Host(addr(2), HostConfig{}), 5)
		var sent []string
		for i := range 50 {
			sent = append(sent, fmt.Sprintf("%02d", i))
			write(t, a, b, sent[i])
		}
		got := heard(t, b)
		if slices.Equal(got, sent) {
			t.Error("nothing was overtaken")
		}
		if slices.Sort(got); !slices.Equal(got, sent) {
			t.Errorf("jitter lost something: %v", got)
		}
	})
}

func TestCrashAndPartition(t *testing.T) {
	Run(t, Config{DefaultDelay: 10 * time.Millisecond}, func(t *testing.T, n *Network) {
		a, b := listen(t, n.Host(addr(1), HostConfig{}), 5), listen(t, n.Host(addr(2), HostConfig{}), 5)
		check := func(what string, want ...string) {
			t.Helper()
			if got := heard(t, b); !slices.Equal(got, want) {
				t.Errorf("%s: heard %q, want %q", what, got, want)
			}
		}
		for _, ip := range []netip.Addr{addr(1), addr(2)} {
			write(t, a, b, "on the way")
			n.SetDown(ip, true)
			write(t, a, b, "down")
			check("down")
			n.SetDown(ip, false)
			write(t, a, b, "up")
			check("up", "up")
		}
		write(t, a, b, "on the way")
		n.SetPartition(func(from, to netip.Addr) bool { return from == addr(1) })
		write(t, a, b, "cut")
		check("cut")
		write(t, b, a, "back")
		if got := heard(t, a); !slices.Equal(got, []string{"back"}) {
			t.Errorf("only one direction is cut, but heard %q", got)
		}
		n.SetPartition(nil)
		write(t, a, b, "healed")
		check("healed", "healed")
		if s := n.Stats(); s.Cut != 6 || s.Delivered != 4 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTrafficByPort(t *testing.T) {
	Run(t, Config{}, func(t *testing.T, n *Network) {
		ha, hb := n.Host(addr(1), HostConfig{}), n.Host(addr(2), HostConfig{NAT: Restricted})
		a5, a6, b5 := listen(t, ha, 5), listen(t, ha, 6), listen(t, hb, 5)
		write(t, b5, a5, "1234")
		write(t, a5, b5, "12")
		write(t, a6, b5, "its NAT does not let this in")
		write(t, a5, a6, "loopback")
		heard(t, b5)
		a5.Close()
		check := func(what string, got, want Traffic) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		at5, other := ha.Traffic(5)
		check("a, port 5", at5, Traffic{In: 32, Out: 30, PacketsIn: 1, PacketsOut: 1})
		check("a, elsewhere", other, Traffic{Out: 56, PacketsOut: 1})
		at5, other = hb.Traffic(5)
		check("b, port 5", at5, Traffic{In: 30, Out: 32, PacketsIn: 1, PacketsOut: 1})
		check("b, elsewhere", other, Traffic{})
		n.SetDown(addr(2), true)
		write(t, b5, a6, "x")
		at5, _ = hb.Traffic(5)
		check("b, down", at5, Traffic{In: 30, Out: 32, PacketsIn: 1, PacketsOut: 1})
	})
}

func TestRestrictedHearsOnlyThoseItSpokeTo(t *testing.T) {
	Run(t, Config{}, func(t *testing.T, n *Network) {
		home := n.Host(addr(1), HostConfig{NAT: Restricted})
		peer, other := n.Host(addr(2), HostConfig{}), n.Host(addr(3), HostConfig{})
		in, peer5, peer6, other5 := listen(t, home, 5), listen(t, peer, 5), listen(t, peer, 6), listen(t, other, 5)
		all := func() []string {
			write(t, peer5, in, "peer")
			write(t, peer6, in, "peer's other port")
			write(t, other5, in, "other")
			return heard(t, in)
		}
		if got := all(); got != nil {
			t.Errorf("before it spoke: %q", got)
		}
		write(t, in, peer5, "hello")
		if got := all(); !slices.Equal(got, []string{"peer"}) {
			t.Errorf("after it spoke to peer: %q", got)
		}
		in2 := listen(t, home, 7)
		write(t, peer5, in2, "peer")
		if got := heard(t, in2); got != nil {
			t.Errorf("another port of ours: %q", got)
		}
		time.Sleep(natLife)
		if got := all(); got != nil {
			t.Errorf("long after: %q", got)
		}
	})
}

func TestGatewayTranslates(t *testing.T) {
	public := netip.MustParseAddr("5.6.7.8")
	lan := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, last}) }
	// seen says as what a receiver sees the sender of the next packet.
	seen := func(t *testing.T, from, at *Conn, to netip.AddrPort) netip.AddrPort {
		t.Helper()
		if _, err := from.WriteToAddrPort([]byte("x"), to); err != nil {
			t.Fatal(err)
		}
		at.SetReadDeadline(time.Now().Add(time.Second))
		_, who, err := at.ReadFromAddrPort(make([]byte, 10))
		if err != nil {
			return netip.AddrPort{}
		}
		return who
	}
	for _, tc := range []struct {
		nat      NAT
		samePort bool // of one socket towards two destinations
	}{{Open, true}, {Restricted, true}, {Symmetric, false}} {
		t.Run(fmt.Sprint(tc.nat), func(t *testing.T) {
			Run(t, Config{}, func(t *testing.T, n *Network) {
				h1 := n.Host(lan(1), HostConfig{NAT: tc.nat, Gateway: public})
				h2 := n.Host(lan(2), HostConfig{NAT: tc.nat, Gateway: public})
				s1, s2 := n.Host(addr(1), HostConfig{}), n.Host(addr(2), HostConfig{})
				c1, c2, p1, p2 := listen(t, h1, 5), listen(t, h2, 5), listen(t, s1, 5), listen(t, s2, 5)

				as1, as2 := seen(t, c1, p1, p1.local), seen(t, c1, p2, p2.local)
				if as1.Addr() != public || as2.Addr() != public {
					t.Fatalf("not translated: %v, %v", as1, as2)
				}
				if (as1 == as2) != tc.samePort {
					t.Errorf("mapped to %v and %v", as1, as2)
				}
				if other := seen(t, c2, p1, p1.local); other == as1 {
					t.Errorf("two hosts share %v", other)
				}
				if who := seen(t, p1, c1, as1); who != p1.local {
					t.Errorf("the reply came from %v", who)
				}
				if who := seen(t, p2, c1, as1); who.IsValid() != (tc.nat != Symmetric) {
					t.Errorf("the second server's packet to the first's mapping came from %v", who)
				}
				if who := seen(t, p1, c1, c1.local); who.IsValid() {
					t.Errorf("a private address was reached from outside")
				}
				if who := seen(t, c2, c1, c1.local); who != c2.local {
					t.Errorf("on the LAN %v is seen as %v", c2.local, who)
				}
			})
		})
	}
}

func TestSTUN(t *testing.T) {
	Run(t, Config{DefaultDelay: 10 * time.Millisecond}, func(t *testing.T, n *Network) {
		server, err := n.Host(addr(1), HostConfig{}).ServeSTUN(3478)
		if err != nil {
			t.Fatal(err)
		}
		h := n.Host(netip.MustParseAddr("10.0.0.1"), HostConfig{NAT: Symmetric, Gateway: addr(9)})
		c, err := h.Transport().Dial("udp4", server.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("garbage")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1500)
		size, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		m := &stun.Message{Raw: buf[:size]}
		var mapped stun.XORMappedAddress
		if err := errors.Join(m.Decode(), mapped.GetFrom(m)); err != nil {
			t.Fatal(err)
		}
		if mapped.IP.String() != addr(9).String() {
			t.Errorf("mapped to %v", mapped)
		}
	})
}

func TestSocketErrors(t *testing.T) {
	Run(t, Config{}, func(t *testing.T, n *Network) {
		h := n.Host(addr(1), HostConfig{})
		c := listen(t, h, 0)
		if _, err := h.ListenUDP(c.local.Port()); err == nil {
			t.Error("one port, two sockets")
		}
		tr := h.Transport()
		if _, err := tr.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(9, 9, 9, 9)}); err == nil {
			t.Error("listens at another's address")
		}
		if _, err := tr.ResolveUDPAddr("udp4", "stun.example.org:3478"); err == nil {
			t.Error("resolved a name")
		}
		if _, err := tr.Dial("tcp", "1.2.3.4:80"); err == nil {
			t.Error("dialled TCP")
		}
		if any, err := tr.ListenUDP("udp4", nil); err != nil || any.LocalAddr().String() == c.LocalAddr().String() {
			t.Error(any, err)
		}
		if _, err := c.WriteTo([]byte("x"), &net.UDPAddr{}); err == nil {
			t.Error("wrote to nowhere")
		}
		done := make(chan error)
		go func() {
			_, _, err := c.ReadFrom(make([]byte, 1))
			done <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read that Close ends says %v", err)
		}
		if _, err := c.WriteTo([]byte("x"), c.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing to a closed socket: %v", err)
		}
		if again := listen(t, h, c.local.Port()); again == nil {
			t.Error("the port of a closed socket is not free")
		}
	})
}
