//go:build !linux

package node

import (
	"context"
	"time"
)

// tellChanges: the addresses are looked at every second.
func tellChanges(context.Context, chan<- struct{}) {}

// sinceBoot is the wall clock here: it goes on while the machine sleeps.
func sinceBoot() time.Duration { return time.Duration(time.Now().UnixNano()) }
