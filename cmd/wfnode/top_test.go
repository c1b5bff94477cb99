package main

import (
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/node"
)

func topExample() topLook {
	layer, delay, rtt, loss, kids, none := 1, 31.0, 12.5, 0.03, 2, 0
	root, self := "12D3KooWspeaker", "12D3KooWrelay1"
	st := node.Status{PeerID: self, DHT: node.DHTStatus{Mode: "client", Connected: 5}, Rooms: []node.RoomStatus{{
		ID: "12D3room", Name: "lecture", Admission: "open",
		Streams: []node.StreamStatus{{
			ID: "aa", Speaker: root, State: "live", Role: "relay", Layer: &layer, Parent: &root, PathDelayMS: &delay,
			Slots: node.SlotStatus{Used: 2, Max: 4}, MediaBytes: node.Traffic{In: 1_000_000, Out: 2_000_000},
			Tracks: []node.TrackStatus{{Lost: 1, Repaired: 2}},
		}},
	}}}
	return topLook{at: time.Unix(100, 0), status: st, charts: []node.StreamChart{{
		Stream: "aa", Layers: []int{1, 4, 3}, Nodes: []node.ChartNode{
			{Peer: root},
			{Peer: self, Parent: &root, Layer: 1, Self: true, Children: &kids, RTTMS: &rtt, Loss: &loss},
			{Peer: "12D3KooWleafA", Parent: &self, Layer: 2, Children: &none},
			{Peer: "12D3KooWleafB", Parent: &self, Layer: 2},
		},
	}}}
}

func TestTopDraws(t *testing.T) {
	now := topExample()
	before := topExample()
	before.at = now.at.Add(-4 * time.Second)
	before.status.Rooms[0].Streams[0].MediaBytes = node.Traffic{}
	want := `wfnode …relay1  dht client, 5 peers
room lecture (open), stream 1 of 1 of speaker …peaker
live · relay · layer 1 · 31 ms behind the speaker · in 2.00 Mbit/s · out 4.00 Mbit/s
fed by …peaker, in reserve none, feeding 2 of 4, 1 lost, 2 repaired, 0 changes of parent

8 nodes, by layer 1 + 4 + 3
● …peaker speaker
└─ ● …relay1 (this node)  12.5 ms  3.0% loss  feeds 2
   ├─ ● …WleafA
   └─ ● …WleafB
and 3 more in layer 1
and 1 more in layer 2
`
	if got := drawTop(now, before, 3, false); got != want {
		t.Errorf("drawn:\n%s", got)
	}
	if got := drawTop(now, before, 0, true); !strings.Contains(got, colourPoor+"●") {
		t.Error("a bad link has no colour")
	}
	verdict := "this NAT lets nobody in"
	now.status.Rooms[0].Streams[0].Verdict = &verdict
	if got := drawTop(now, before, 0, false); !strings.Contains(got, "4.00 Mbit/s\n"+verdict+"\nfed by") {
		t.Errorf("the verdict is not shown:\n%s", got)
	}
	now.status.Rooms[0].Name = "a\x1b[2Jb\n"
	if got := drawTop(now, before, 0, false); !strings.Contains(got, "room a[2Jb (open)") {
		t.Errorf("a room's name steers the terminal: %q", got)
	}
	now.charts[0].Layers = []int{1, 4, 400}
	if got := drawTop(now, before, 0, false); !strings.Contains(got, "layer 2 "+strings.Repeat("█", 40)+" 400\n") {
		t.Errorf("a large tree:\n%s", got)
	}
	if got := drawTop(topLook{}, topLook{}, 0, false); !strings.Contains(got, "in no room") {
		t.Errorf("nothing:\n%s", got)
	}
}

// What does not fit is said, with the keys that show it.
func TestTopSaysItsKeys(t *testing.T) {
	var look top
	look.take(topExample())
	for _, c := range []struct {
		height int
		want   string
	}{{40, "q ends"}, {6, "q ends, ↑ and ↓ scroll: 7 more lines"}} {
		lines := strings.Split(look.page(80, c.height), "\n")
		if last := lines[len(lines)-1]; last != colourDim+c.want+colourOff || len(lines) > c.height {
			t.Errorf("%d lines on %d, the last %q", len(lines), c.height, last)
		}
	}
}

func TestWindowScrollsAndCuts(t *testing.T) {
	text := "\x1b[36mone\x1b[0m\ntwo\nthree\nfour\n"
	for _, c := range []struct {
		width, height, scroll int
		want                  string
		at                    int
	}{
		{80, 2, 0, "\x1b[36mone\x1b[0m\ntwo", 0},
		{2, 1, 0, "\x1b[36mon\x1b[0m", 0},
		{80, 2, 9, "three\nfour", 2},
		{80, 9, 3, "\x1b[36mone\x1b[0m\ntwo\nthree\nfour", 0},
		{3, 1, -1, "\x1b[36mone\x1b[0m", 0},
	} {
		if got, at := window(text, c.width, c.height, c.scroll); got != c.want || at != c.at {
			t.Errorf("%+v: %q from %d", c, got, at)
		}
	}
}
