package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// callerEnv, in the environment of this test's binary, makes it a libp2p host that calls the
// node at the address that is the value, and says by which address it got through.
const callerEnv = "WF_CALL"

func call(address string) error {
	ctx, cancel := context.WithTimeout(libp2pnet.WithAllowLimitedConn(context.Background(), "test"), 10*time.Second)
	defer cancel()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.EnableRelay())
	if err != nil {
		return err
	}
	defer h.Close()
	to, err := peer.AddrInfoFromString(address)
	if err != nil {
		return err
	}
	if err := h.Connect(ctx, *to); err != nil {
		return err
	}
	answer := <-ping.Ping(ctx, h, to.ID)
	if answer.Error != nil {
		return answer.Error
	}
	fmt.Println(h.Network().ConnsToPeer(to.ID)[0].RemoteMultiaddr())
	return nil
}

// A node behind a NAT is told by bootstrap nodes that nobody gets through to it (AutoNAT), takes
// a slot there, and is reached through it by who sits behind another NAT. Only with -long:
// AutoNAT begins after 15 s.
func TestCircuitBehindNAT(t *testing.T) {
	if !*long {
		t.Skip("only with -long; in virtual time dht.TestCircuit and TestCircuitOffer")
	}
	// AutoNAT calls no address of documentation back.
	in := newInternetOf(t, "5.9.1", "5.9.2")
	speaker := in.start("speaker", in.home("symmetric"), "speak", "--input", "test")
	var door string
	eventually(t, 2*time.Minute, "the speaker has a slot at a bootstrap node", func() error {
		st, err := speaker.Status()
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(st.Addresses, func(a string) bool { return strings.Contains(a, "/p2p-circuit") }); i >= 0 {
			door = st.Addresses[i]
			return nil
		}
		return errNotYet
	})
	t.Logf("%s after %.0f s", door, time.Since(speaker.Started).Seconds())
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	caller := in.home("symmetric").ns
	cmd := exec.Command(caller.ip, "netns", "exec", caller.name, exe)
	cmd.Env = append(os.Environ(), callerEnv+"="+door)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/p2p-circuit") {
		t.Fatalf("calling %s: %v: %s", door, err, out)
	}
}
