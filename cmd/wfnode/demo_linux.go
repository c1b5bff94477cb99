package main

import "syscall"

// apart keeps a terminal's Ctrl-C from the demo's nodes, which the demo ends itself,
// and ends them with the demo even if that is killed.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
