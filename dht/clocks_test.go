package dht

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/internal/vnet"
)

// Clocks of joiner and speaker are an hour off, either way or both ways: the joiner gets in as
// fast as ever, by either carrier, and both can be told.
func TestClocks(t *testing.T) {
	const h = time.Hour
	for _, c := range []struct{ joiner, speaker time.Duration }{{0, 0}, {h, 0}, {-h, 0}, {0, h}, {0, -h}, {h, -h}, {-h, h}} {
		for _, signal := range []Signal{Gossip, DHT} {
			t.Run(fmt.Sprintf("joiner %v speaker %v %s", c.joiner, c.speaker, signal), func(t *testing.T) {
				vnet.Run(t, wan, func(t *testing.T, n *vnet.Network) {
					boot := virtualHost(t, n, 1, Config{Volunteer: true})
					cfg := Config{Bootstrap: []peer.AddrInfo{infoOf(t, boot)}, Signal: signal, skew: c.speaker}
					sh := virtualHost(t, n, 2, cfg)
					booted(t, sh)
					room, err := CreateRoom(newKey(t), RoomOptions{Speakers: []peer.ID{sh.ID()}, Now: sh.clock.now()})
					if err != nil {
						t.Fatal(err)
					}
					if err := sh.PutRoom(t.Context(), room); err != nil {
						t.Fatal(err)
					}
					sp := enter(t, sh, room, "speaker")
					speak(t, sp, [16]byte{1})
					time.Sleep(15 * time.Second)
					cfg.skew = c.joiner
					jh := virtualHost(t, n, 3, cfg)
					start := time.Now()
					joinBy(t, jh, room, Keys{}, sp, nil)
					if took, most := time.Since(start), map[Signal]time.Duration{Gossip: time.Second, DHT: 4 * time.Second}[signal]; took > most {
						t.Errorf("the offer was at the speaker after %v, want at most %v", took, most)
					}
					for _, side := range []struct {
						name string
						h    *Host
						want time.Duration
					}{{"joiner", jh, c.joiner - c.speaker}, {"speaker", sh, c.speaker - c.joiner}} {
						// A record that has come by the DHT was said up to its life ago.
						if got, of := side.h.ClockOff(); of != 1 || (got-side.want).Abs() > headLife {
							t.Errorf("the %s's clock is %v ahead of %d, want %v of 1", side.name, got, of, side.want)
						}
					}
				})
			})
		}
	}
}

// However many are heard, few are remembered; the median is not moved by some liars.
func TestClocksAreBounded(t *testing.T) {
	var h Host
	now := time.Now()
	for i := range 100 {
		r := record{writer: pubKey{byte(i)}, seq: uint64(now.Add(-time.Hour).UnixMilli())}
		if i%3 == 0 {
			r.seq = uint64(now.Add(20 * time.Hour).UnixMilli())
		}
		h.clocks.heard(&r, now)
	}
	if n := len(h.clocks.ahead); n != maxClocks {
		t.Errorf("%d clocks are remembered, want %d", n, maxClocks)
	}
	var few Host
	for i := range 5 {
		r := record{writer: pubKey{byte(i)}, seq: uint64(now.Add(-time.Hour).UnixMilli())}
		if i < 2 {
			r.seq = uint64(now.Add(20 * time.Hour).UnixMilli())
		}
		few.clocks.heard(&r, now)
	}
	if d, of := few.ClockOff(); of != 5 || (d-time.Hour).Abs() > time.Second {
		t.Errorf("our clock is %v ahead of %d", d, of)
	}
}
