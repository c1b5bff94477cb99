package node

import (
	"strings"
	"testing"
	"time"
)

func TestClockVerdict(t *testing.T) {
	for _, c := range []struct {
		ahead time.Duration
		of    int
		want  string // in it; empty: no verdict
	}{
		{0, 0, ""},
		{-50 * time.Second, 5, ""},
		{3*time.Minute + 10*time.Second, 1, "3m0s ahead of that of another"},
		{time.Hour - 20*time.Second, 2, "1h0m0s ahead of that of another"},
		{-time.Hour - 20*time.Second, 1, "1h0m0s behind that of another"},
		{-time.Hour, 7, "1h0m0s behind those of 7 others (hint: set the clock"},
	} {
		if got := clockVerdict(c.ahead, c.of); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%v ahead of %d: %q, want %q", c.ahead, c.of, got, c.want)
		}
	}
}
