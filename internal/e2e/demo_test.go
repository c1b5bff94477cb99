package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// Figure 1: the demo's 12 listeners are live within 5 s of the speaker's start, in
// layers of 4 and 8, and lose nothing.
func TestDemoOfTwelve(t *testing.T) {
	length := "12s"
	if *long {
		length = "30s"
	}
	code, stdout, stderr := command(t, time.Minute, options{}, "demo", "--nodes", "12", "--for", length, "--json")
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var sum struct {
		Nodes     int      `json:"nodes"`
		Live      int      `json:"live"`
		AllLiveMS *float64 `json:"all_live_ms"`
		Layers    []int    `json:"layers"`
		Lost      *uint64  `json:"lost"`
		Switches  int      `json:"switches"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil {
		t.Fatalf("the last line is no summary: %v\n%s", err, stdout)
	}
	if sum.Nodes != 12 || sum.Live != 12 {
		t.Errorf("%d of %d listeners live", sum.Live, sum.Nodes)
	}
	if sum.AllLiveMS == nil || *sum.AllLiveMS > 5000 {
		t.Errorf("not all live within 5 s of the speaker's start: %v", lines[len(lines)-1])
	} else {
		t.Logf("all 12 live %.0f ms after the speaker's start", *sum.AllLiveMS)
	}
	if !slices.Equal(sum.Layers, []int{1, 4, 8}) {
		t.Errorf("layers %v", sum.Layers)
	}
	if sum.Lost == nil || *sum.Lost != 0 {
		t.Errorf("lost %v", sum.Lost)
	}
}
