package linkbench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const roleEnv = "LINKBENCH_ROLE"

// TestMain makes this program its own relay process.
func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) == "relay" {
		if err := relayMain(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// relay is this program as a relay process.
func relay(t *testing.T) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=relay")
	cmd.Stderr = os.Stderr
	return cmd
}

func TestChain(t *testing.T) {
	r, err := Chain(t.Context(), ChainConfig{
		Relays: func() *exec.Cmd { return relay(t) }, Hops: 2, Warm: 500 * time.Millisecond, For: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Hops != 2 || r.Packets < 10 || r.HopP50 <= 0 || r.HopP99 < r.HopP50 || r.TotalP50 < r.HopP50 {
		t.Errorf("%+v", r)
	}
}

func TestRun(t *testing.T) {
	r, err := Run(t.Context(), Config{Children: 2, Warm: 200 * time.Millisecond, For: time.Second, Relay: relay(t)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Children != 2 || r.PacketsIn < 100 || r.CPUPerPacket <= 0 || r.LatencyP50 <= 0 || r.LatencyP99 < r.LatencyP50 {
		t.Errorf("%+v", r)
	}
}

// A relay that has a core to itself is not overloaded by the few that there are; where it is
// on a busy machine the figures hang together.
func TestOverload(t *testing.T) {
	r, err := Overload(t.Context(), OverloadConfig{
		Relay: relay(t), Busy: func() *exec.Cmd { return exec.Command("sleep", "100") },
		Children: overFirst, Step: time.Second,
	})
	if err != nil && !strings.Contains(err.Error(), "no overload") {
		t.Fatal(err)
	}
	if r.Children != overFirst || r.Peak <= 0 || r.Asked <= 0 || r.Goodput != r.Peak || err == nil && r.Asked < overTimes*r.Peak {
		t.Errorf("%+v, %v", r, err)
	}
}

func relayMain() error { return Relay(context.Background(), os.Stdin, os.Stdout) }
