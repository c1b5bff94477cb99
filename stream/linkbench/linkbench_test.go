package linkbench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
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

func TestRun(t *testing.T) {
	relay := exec.CommandContext(t.Context(), os.Args[0])
	relay.Env = append(os.Environ(), roleEnv+"=relay")
	relay.Stderr = os.Stderr
	r, err := Run(t.Context(), Config{Children: 2, Warm: 200 * time.Millisecond, For: time.Second, Relay: relay})
	if err != nil {
		t.Fatal(err)
	}
	if r.Children != 2 || r.PacketsIn < 100 || r.CPUPerPacket <= 0 || r.LatencyP50 <= 0 || r.LatencyP99 < r.LatencyP50 {
		t.Errorf("%+v", r)
	}
}

func relayMain() error { return Relay(context.Background(), os.Stdin, os.Stdout) }
