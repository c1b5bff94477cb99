// Package linkbench measures what forwarding costs on this machine: one process is the
// relay, another is its speaker and all of its children, so that the relay's CPU clock
// counts nothing else. The traffic is that of a 2.5 Mbit/s stream: 30 frames a second
// of 9 packets, a keyframe five times as large every 2 s, 50 sound packets a second,
// signed by the speaker and checked by the relay.
package linkbench

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// request and reply are lines of JSON between the load and the relay process.
type request struct {
	Op string `json:"op"`
	// "take" (from the link that is answered), "serve" (over it), "offer", and "accept" (take
	// from the link that was offered): the other side's description.
	Link   []byte            `json:"link,omitempty"`
	Stream []byte            `json:"stream,omitempty"`
	Key    ed25519.PublicKey `json:"key,omitempty"` // the speaker's
	// "times": when video packets came.
	From  uint64 `json:"from,omitempty"`
	Count int    `json:"count,omitempty"`
	// "usage", and "heap" (after a collection), have no more.
}

type reply struct {
	Link  []byte  `json:"link,omitempty"` // own description
	Usage Usage   `json:"usage"`
	Times []int64 `json:"times,omitempty"` // ns of Unix time; 0: has not come
	Err   string  `json:"err,omitempty"`
}

// Usage is what the relay process has used since it began.
type Usage struct {
	CPU       time.Duration `json:"cpu_ns"`
	RSS       uint64        `json:"rss"`     // bytes
	Heap      uint64        `json:"heap"`    // bytes that live, stacks too; exact after "heap"
	Mallocs   uint64        `json:"mallocs"` // objects
	Switches  uint64        `json:"switches"`
	Forwarded uint64        `json:"forwarded"` // packets
	Skipped   uint64        `json:"skipped"`   // packets
}

// relayProcess is the other process, seen from the load.
type relayProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// startRelay runs cmd, a process that calls Relay on its standard input and output.
func startRelay(cmd *exec.Cmd) (*relayProcess, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the relay process: %w", err)
	}
	return &relayProcess{cmd: cmd, in: in, enc: json.NewEncoder(in), dec: json.NewDecoder(out)}, nil
}

func (p *relayProcess) ask(q request) (reply, error) {
	var r reply
	if err := p.enc.Encode(q); err != nil {
		return r, err
	}
	if err := p.dec.Decode(&r); err != nil {
		return r, err
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

// stop ends the process by closing its input.
func (p *relayProcess) stop() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}

// Config of a run.
type Config struct {
	Children int
	Warm     time.Duration // before the clock starts; 0 means 2 s
	For      time.Duration // measured; 0 means 8 s
	Relay    *exec.Cmd     // the relay process, not started: it must call Relay

	// Look is given, every Every of the time measured, what the relay uses then, its heap
	// after a collection; nil: none.
	Look  func(at time.Duration, u Usage)
	Every time.Duration
}

// Result of a run.
type Result struct {
	Children      int     `json:"children"`
	Seconds       float64 `json:"for_s"`
	PacketsIn     float64 `json:"packets_in_per_s"`
	CPUPerPacket  float64 `json:"cpu_us_per_pkt"` // of the relay, over packets that reached children
	CPUPercent    float64 `json:"cpu_pct"`
	AllocsPacket  float64 `json:"allocs_per_pkt"`
	SwitchesPerS  float64 `json:"ctx_switches_per_s"`
	MiBPerChild   float64 `json:"mib_per_child"`  // resident: with garbage that waits
	LiveMiBChild  float64 `json:"live_mib_child"` // heap and stacks
	Lost          uint64  `json:"lost"`           // since the joins, by all children
	Skipped       uint64  `json:"skipped"`        // of them, left out since the way or the child was too slow
	LatencyP50    float64 `json:"latency_ms_p50"` // speaker to child, two hops
	LatencyP99    float64 `json:"latency_ms_p99"`
	JoinMillis    float64 `json:"join_ms"` // mean, offer to first packet
	CPUJoinMillis float64 `json:"join_cpu_ms"`
}

// Run measures once.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if cfg.Warm <= 0 {
		cfg.Warm = 2 * time.Second
	}
	if cfg.For <= 0 {
		cfg.For = 8 * time.Second
	}
	relay, err := startRelay(cfg.Relay)
	if err != nil {
		return Result{}, err
	}
	res, err := measure(ctx, cfg, relay)
	return res, errors.Join(err, relay.stop())
}
