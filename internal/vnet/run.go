package vnet

import (
	"testing"
	"testing/synctest"
	"time"
)

// Run runs f in a bubble with a network of its own. f closes what it opens (defer, or
// t.Cleanup: those run first); Run then lets a minute pass, in which timers of libp2p
// and pion that outlive Close run out, and closes the network last.
func Run(t *testing.T, cfg Config, f func(t *testing.T, n *Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := New(cfg)
		t.Cleanup(func() {
			time.Sleep(time.Minute)
			n.Close()
		})
		f(t, n)
	})
}
