// Package vnettest tests whole nodes (libp2p, kad-dht, gossipsub, tree, pion links) in
// virtual time over internal/vnet. It holds nothing but tests.
//
// A bubble runs on one core at a time whatever GOMAXPROCS says, and its garbage is
// short-lived, so large runs go best with
//
//	GOMAXPROCS=1 GOGC=400 go test ./internal/vnettest
//
// Virtual time is not determinism for libp2p and pion: the tests assert bounds.
package vnettest
