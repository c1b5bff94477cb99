// Package vnettest tests whole nodes (libp2p, kad-dht, gossipsub, tree, pion links) in
// virtual time over internal/vnet. It holds nothing but tests.
//
// A bubble runs on one core (vnet.Run sees to that), and its garbage is short-lived, so
// large runs go best with
//
//	GOGC=400 go test ./internal/vnettest -run TestRoom -v -nodes 100
//
// TestSimulation measures the figures of a crowd; `make sim N=300` is its long form
// (about 9 MiB and 1 s of CPU a node).
//
// Virtual time is not determinism for libp2p and pion: the tests assert bounds.
package vnettest
