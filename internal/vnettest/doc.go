// Package vnettest tests whole nodes (libp2p, kad-dht, gossipsub, tree, pion links) in
// virtual time over internal/vnet. It holds nothing but tests.
//
// A bubble runs on one core (vnet.Run sees to that), and its garbage is short-lived, so
// large runs go best with
//
//	GOGC=400 go test ./internal/vnettest -run TestRoom -v -nodes 100
//
// Virtual time is not determinism for libp2p and pion: the tests assert bounds.
package vnettest
