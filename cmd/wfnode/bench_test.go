package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/watergy/waterfall/stream/linkbench"
)

func TestBenchTable(t *testing.T) {
	r := benchReport{
		Steps:    []linkbench.Step{{Name: "seal", Nanos: 412.4}},
		Forward:  []linkbench.Result{{Children: 4, CPUPerPacket: 9.876, CPUPercent: 1.5, LatencyP50: 0.3, LatencyP99: 1}},
		Hops:     &linkbench.ChainResult{Hops: 6, Packets: 100, HopP50: 0.07, HopP99: 3},
		Join:     &joinResult{Nodes: 5, Answer: 20, FirstPacket: 50, FirstFrame: 55, Process: 200},
		Overload: &linkbench.OverloadResult{Peak: 1000, PeakChildren: 3, Children: 6, Asked: 2000, Goodput: 900, Stay: 1, Recovery: 500},
	}
	var b bytes.Buffer
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"412 ns",
		"9.88 µs of CPU a packet",
		"a hop (of 6)",
		"0 of 100 packets lost",
		"55 ms to the first frame",
		"6 children ask for 2.0 of the peak",
		"90% of the peak comes",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if median([]float64{3, 1, 2}) != 2 {
		t.Error("not the median")
	}
}
