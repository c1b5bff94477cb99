package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/watergy/waterfall/stream/linkbench"
)

// benchReport is what bench prints.
type benchReport struct {
	Steps   []linkbench.Step       `json:"steps,omitempty"`
	Forward []linkbench.Result     `json:"forward,omitempty"`
	Hops    *linkbench.ChainResult `json:"hops,omitempty"`
	Join    *joinResult            `json:"join,omitempty"`

	Overload *linkbench.OverloadResult `json:"overload,omitempty"`
}

// joinResult is how soon fresh nodes got there: medians, in milliseconds.
type joinResult struct {
	Nodes       int     `json:"nodes"`
	Answer      float64 `json:"answer_ms_p50"` // since the node looks for the room, as the others but the last
	FirstPacket float64 `json:"first_packet_ms_p50"`
	FirstFrame  float64 `json:"first_frame_ms_p50"`
	Process     float64 `json:"process_ms_p50"` // start of the process to the first packet
}

// print writes one table: a row a figure.
func (r benchReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	for _, s := range r.Steps {
		row(s.Name, "%.0f ns\t%d allocations", s.Nanos, s.Allocs)
	}
	for _, f := range r.Forward {
		name := fmt.Sprintf("forward to %d children", f.Children)
		row(name, "%.2f µs of CPU a packet\t%.1f%% of a core, %.2f allocations a packet, %.2f MiB a child (%.2f live), %d lost, %d skipped",
			f.CPUPerPacket, f.CPUPercent, f.AllocsPacket, f.MiBPerChild, f.LiveMiBChild, f.Lost, f.Skipped)
		row("  two hops", "%.2f ms p50\t%.2f ms p99", f.LatencyP50, f.LatencyP99)
		row("  link of a child", "%.1f ms\t%.1f ms of the relay's CPU", f.JoinMillis, f.CPUJoinMillis)
	}
	if h := r.Hops; h != nil {
		row(fmt.Sprintf("a hop (of %d)", h.Hops), "%.2f ms p50\t%.2f ms p99", h.HopP50, h.HopP99)
		row("  all of them", "%.2f ms p50\t%.2f ms p99, %d of %d packets lost", h.TotalP50, h.TotalP99, h.Lost, h.Lost+h.Packets)
	}
	if j := r.Join; j != nil {
		row(fmt.Sprintf("join (median of %d)", j.Nodes), "%.0f ms to the first frame\tanswer after %.0f, first packet %.0f, process to first packet %.0f ms",
			j.FirstFrame, j.Answer, j.FirstPacket, j.Process)
	}
	if o := r.Overload; o != nil {
		row(fmt.Sprintf("%d children ask for %.1f of the peak", o.Children, o.Asked/o.Peak), "%.0f%% of the peak comes\t%.0f ms p50, %.0f ms p99, then %.0f ms p99; the peak was %.0f packets a second to %d",
			100*o.Goodput/o.Peak, o.LateP50, o.LateP99, o.LaterP99, o.Peak, o.PeakChildren)
		row(fmt.Sprintf("  all but %d go", o.Stay), "in time after %.0f ms\t", o.Recovery)
	}
	return t.Flush()
}

// benchJoin runs a bootstrap node and a speaker, and lets nodes join one after the other.
func benchJoin(ctx context.Context, nodes int) (res joinResult, err error) {
	dir, err := os.MkdirTemp("", "wfnode-bench-")
	if err != nil {
		return res, fmt.Errorf("make a directory for the nodes: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := newCrew(dir)
	if err != nil {
		return res, err
	}
	defer c.stop()
	hub, err := c.run("bootstrap", "bootstrap")
	if err != nil {
		return res, err
	}
	if err := c.until(ctx, func() bool { return hub.ready }); err != nil {
		return res, err
	}
	speaker, err := c.run("speaker", "speak", "--input", "test", "--bootstrap", hub.address)
	if err != nil {
		return res, err
	}
	if err := c.until(ctx, func() bool { return speaker.ticket != "" && speaker.ready }); err != nil {
		return res, err
	}
	var process, answer, packet, frame []float64
	for i := range nodes {
		p, err := c.run(fmt.Sprintf("listener %d", i+1), "join", speaker.ticket)
		if err != nil {
			return res, err
		}
		if err := c.until(ctx, func() bool { return p.live }); err != nil {
			return res, err
		}
		process = append(process, float64(time.Since(p.started).Microseconds())/1000)
		v, err := c.joined(ctx, p)
		if err != nil {
			return res, err
		}
		answer, packet, frame = append(answer, *v.AnswerMS), append(packet, *v.FirstPacketMS), append(frame, *v.FirstFrameMS)
	}
	return joinResult{
		Nodes: nodes, Answer: median(answer), FirstPacket: median(packet), FirstFrame: median(frame), Process: median(process),
	}, nil
}

// median of what is not empty; it sorts it.
func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}
