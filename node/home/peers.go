package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// maxPeers bounds what is remembered, in bytes of the file.
const maxPeers = 64 << 10

// SavePeers remembers the addresses (with /p2p/) at which nodes of the DHT were reached.
// Who was met last tells nobody but this machine's owner, hence mode 0600.
func (h *Home) SavePeers(addrs []string) error {
	if err := replacePrivate(h.path("peers"), []byte(strings.Join(addrs, "\n")+"\n")); err != nil {
		return fmt.Errorf("remember peers: %w", err)
	}
	return nil
}

// Peers are the addresses that SavePeers remembered last.
func (h *Home) Peers() ([]string, error) {
	b, err := os.ReadFile(h.path("peers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("remembered peers: %w", err)
	}
	return strings.Fields(string(b[:min(len(b), maxPeers)])), nil
}
