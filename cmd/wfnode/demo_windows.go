package main

import "syscall"

// apart keeps a console's Ctrl-C from the demo's nodes, which the demo ends itself.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
