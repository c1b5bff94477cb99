//go:build unix

package linkbench

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processUsage is what the kernel says of this process. Resident memory is known on
// Linux only.
func processUsage() Usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return Usage{}
	}
	u := Usage{
		CPU:      time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		Switches: uint64(r.Nvcsw + r.Nivcsw),
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			u.RSS = n * uint64(os.Getpagesize())
		}
	}
	return u
}
