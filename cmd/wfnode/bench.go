package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/watergy/waterfall/stream/linkbench"
)

func benchCommand() *cobra.Command {
	var (
		children string
		runFor   time.Duration
		profile  string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what forwarding, sealing and signing cost on this machine",
		Args:  takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			counts, err := parseCounts(children)
			if err != nil {
				return err
			}
			r, err := bench(cmd.Context(), counts, runFor, profile)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&children, "children", "4,20,100", "how many children the relay serves, run by run")
	f.DurationVar(&runFor, "for", 8*time.Second, "how long each run is measured")
	f.StringVar(&profile, "profile", "", "write the CPU profile of the last run's relay to this file")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.AddCommand(benchRelayCommand())
	return cmd
}

// benchRelayCommand is the process that bench measures.
func benchRelayCommand() *cobra.Command {
	var profile string
	cmd := &cobra.Command{
		Use:    "relay",
		Hidden: true,
		Args:   takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return err
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return err
				}
				defer pprof.StopCPUProfile()
			}
			return linkbench.Relay(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "write the relay's CPU profile there")
	return cmd
}

// benchReport is what bench prints.
type benchReport struct {
	Forward []linkbench.Result `json:"forward"`
	Steps   []linkbench.Step   `json:"steps"`
}

func bench(ctx context.Context, counts []int, runFor time.Duration, profile string) (benchReport, error) {
	var r benchReport
	self, err := os.Executable()
	if err != nil {
		return r, fmt.Errorf("find this program: %w", err)
	}
	if r.Steps, err = linkbench.Steps(); err != nil {
		return r, err
	}
	for _, n := range counts {
		relay := exec.CommandContext(ctx, self, "bench", "relay", "--profile", profile)
		relay.Stderr = os.Stderr
		res, err := linkbench.Run(ctx, linkbench.Config{Children: n, For: runFor, Relay: relay})
		if err != nil {
			return r, fmt.Errorf("forward to %d children: %w", n, err)
		}
		r.Forward = append(r.Forward, res)
	}
	return r, nil
}

func (r benchReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "children\tµs CPU a packet\tCPU %\tallocations a packet\tlost\ttwo hops ms p50\tp99\tjoin ms\tjoin CPU ms\tMiB a child\t")
	for _, f := range r.Forward {
		fmt.Fprintf(t, "%d\t%.2f\t%.1f\t%.2f\t%d\t%.2f\t%.2f\t%.1f\t%.1f\t%.2f\t\n", f.Children, f.CPUPerPacket,
			f.CPUPercent, f.AllocsPacket, f.Lost, f.LatencyP50, f.LatencyP99, f.JoinMillis, f.CPUJoinMillis, f.MiBPerChild)
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "step\tns\tallocations\t")
	for _, s := range r.Steps {
		fmt.Fprintf(t, "%s\t%.0f\t%d\t\n", s.Name, s.Nanos, s.Allocs)
	}
	return t.Flush()
}

func parseCounts(s string) ([]int, error) {
	var out []int
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || n < 1 || n > 1000 {
			return nil, usagef("--children %q: want numbers from 1 to 1000 (hint: --children 4,20,100)", s)
		}
		out = append(out, n)
	}
	return out, nil
}
