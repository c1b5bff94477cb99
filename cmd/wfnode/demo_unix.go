//go:build unix && !linux

package main

import "syscall"

// apart keeps a terminal's Ctrl-C from the demo's nodes, which the demo ends itself.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
