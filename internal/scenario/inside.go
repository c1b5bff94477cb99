package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// inside gives nft rules to a container's network; the image has no programs but ours,
// so this machine's are used. It needs root.
func inside(ctx context.Context, l *lab, name, rules string) error {
	return enter(ctx, l.full(name), strings.NewReader(rules), "nft", "-f", "-")
}

// enter runs a program of this machine in the network of a container.
func enter(ctx context.Context, full string, stdin *strings.Reader, program string, args ...string) error {
	pid, err := docker(ctx, "inspect", "-f", "{{.State.Pid}}", full)
	if err != nil {
		return err
	}
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		return fmt.Errorf("%s is not installed (hint: run scripts/setup)", program)
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", pid, "-n", path}, args...)...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s in %s: %w: %s (hint: this needs root)", program, full, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// runShared starts a node in the network namespace of another container.
func (l *lab) runShared(ctx context.Context, name, holder string, args ...string) (*container, error) {
	c := &container{name: name, started: time.Now()}
	if _, err := docker(ctx, append([]string{"run", "-d", "--label", l.id, "--name", l.full(name), "--network", "container:" + holder, image}, args...)...); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes = append(l.nodes, c)
	return c, nil
}

// each does something for every name at once.
func each(names []string, do func(i int) error) error {
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i := range names {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}
