package vnet

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Run runs f in a bubble with a network of its own. f closes what it opens (defer, or
// t.Cleanup: those run first); Run then lets a minute pass, in which timers of libp2p
// and pion that outlive Close run out, and closes the network last.
//
// A bubble gets one thread: it is faster so, and pion's SCTPTransport.Stop holds a lock
// while it waits 200 ms if the other side has aborted in the same instant. Whoever then
// comes for the lock stops virtual time for good; with one thread they come before.
func Run(t *testing.T, cfg Config, f func(t *testing.T, n *Network)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		n := New(cfg)
		t.Cleanup(func() {
			time.Sleep(time.Minute)
			n.Close()
		})
		f(t, n)
	})
}
