package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/watergy/waterfall/node"
)

// view is what the demo shows of one node.
type view struct {
	name, peer, console string
	parent              string
	live, killed        bool
	layer               int // meaningful while attached
	attached            bool
	children, slots     int
	switches            int
	received, lost      uint64
	join                *node.JoinStatus
}

// newView adds to v what its status says about the one stream of the demo.
func newView(v view, st node.Status) view {
	v.peer = st.PeerID
	for _, r := range st.Rooms {
		for _, s := range r.Streams {
			v.live = s.State == "live"
			if s.Parent != nil {
				v.parent = *s.Parent
			}
			if s.Layer != nil {
				v.layer, v.attached = *s.Layer, true
			}
			v.children, v.slots, v.switches = s.Slots.Used, s.Slots.Max, s.Switches
			v.received, v.lost = 0, 0
			for _, t := range s.Tracks {
				v.received += t.Received
				v.lost += t.Lost
			}
			v.join = &s.Join
		}
	}
	return v
}

// drawing is the network as text.
type drawing struct {
	summary string // one line
	tree    string // lines
	full    bool   // every node is live
}

// maxDrawn is how many nodes a drawn tree has room for; larger ones are summed up.
const maxDrawn = 60

// drawTree draws the speaker (the first of views) and whoever hangs below it.
func drawTree(views []view) drawing {
	layers, live, killed, lost := layersOf(views), 0, 0, uint64(0)
	for _, v := range views[1:] {
		if v.live {
			live++
		}
		if v.killed {
			killed++
		}
		lost += v.lost
	}
	d := drawing{full: live+killed == len(views)-1}
	d.summary = fmt.Sprintf("layers %s: %d of %d listeners live%s, %d packets lost",
		joined(layers, " + "), live, len(views)-1, killedWords(killed), lost)
	if len(views) > maxDrawn {
		return d
	}
	below := map[string][]view{}
	for _, v := range views[1:] {
		if v.attached {
			below[v.parent] = append(below[v.parent], v)
		}
	}
	var b strings.Builder
	drawn := map[string]bool{}
	var draw func(v view, first, rest string)
	draw = func(v view, first, rest string) {
		drawn[v.peer] = true
		fmt.Fprintf(&b, "%s%s\n", first, v.line())
		kids := below[v.peer]
		for i, k := range kids {
			if drawn[k.peer] {
				continue
			}
			if i == len(kids)-1 {
				draw(k, rest+"└─ ", rest+"   ")
			} else {
				draw(k, rest+"├─ ", rest+"│  ")
			}
		}
	}
	draw(views[0], "", "")
	for _, v := range views[1:] {
		if !drawn[v.peer] && !v.killed {
			fmt.Fprintf(&b, "?  %s\n", v.line())
		}
	}
	d.tree = b.String()
	return d
}

func killedWords(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d killed", n)
}

// line is one node in a drawn tree.
func (v view) line() string {
	state := "waiting"
	if v.live {
		state = "live"
	}
	s := fmt.Sprintf("%s %s  %s", v.name, shortID(v.peer), state)
	if v.attached {
		s += fmt.Sprintf("  layer %d  children %d/%d", v.layer, v.children, v.slots)
	}
	return s
}

// shortID is enough of a peer ID to tell a few apart.
func shortID(id string) string {
	if len(id) <= 6 {
		return id
	}
	return "…" + id[len(id)-6:]
}

// layersOf counts the attached nodes by layer, the speaker's first.
func layersOf(views []view) []int {
	layers := []int{}
	for _, v := range views {
		if !v.attached || v.layer < 0 || v.layer > len(views) {
			continue
		}
		for len(layers) <= v.layer {
			layers = append(layers, 0)
		}
		layers[v.layer]++
	}
	return layers
}

func joined(list []int, sep string) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", sep), "[]")
}

// summary is how the demo went. Unknown values are null.
type summary struct {
	Event     string        `json:"event"`
	Nodes     int           `json:"nodes"` // listeners
	Live      int           `json:"live"`
	AllLiveMS *int64        `json:"all_live_ms"` // from the speaker's start
	Layers    []int         `json:"layers"`      // nodes by layer, the speaker's first
	Lost      uint64        `json:"lost"`
	Switches  int           `json:"switches"`
	Received  uint64        `json:"received"`
	Killed    int           `json:"killed"` // listeners, by somebody else than the demo
	Peers     []summaryPeer `json:"peers"`  // the speaker first
}

type summaryPeer struct {
	Name     string           `json:"name"`
	Peer     string           `json:"peer"`
	Parent   *string          `json:"parent"`
	Layer    *int             `json:"layer"`
	Live     bool             `json:"live"`
	Children int              `json:"children"`
	Lost     uint64           `json:"lost"`
	Received uint64           `json:"received"`
	Switches int              `json:"switches"`
	Join     *node.JoinStatus `json:"join"`
}

// summarize sums up the last look; views begin with the speaker.
func summarize(views []view, allLive time.Duration) summary {
	s := summary{Event: "summary", Nodes: len(views) - 1, Layers: layersOf(views)}
	if allLive > 0 {
		ms := allLive.Milliseconds()
		s.AllLiveMS = &ms
	}
	for i, v := range views {
		p := summaryPeer{
			Name: v.name, Peer: v.peer, Live: v.live, Children: v.children, Lost: v.lost, Received: v.received,
			Switches: v.switches, Join: v.join,
		}
		if v.parent != "" {
			p.Parent = &v.parent
		}
		if v.attached {
			p.Layer = &v.layer
		}
		s.Peers = append(s.Peers, p)
		if i == 0 {
			continue
		}
		if v.live {
			s.Live++
		}
		if v.killed {
			s.Killed++
		}
		s.Lost += v.lost
		s.Received += v.received
		s.Switches += v.switches
	}
	return s
}

func (s summary) print(w io.Writer) {
	live := "not all at once"
	if s.AllLiveMS != nil {
		live = fmt.Sprintf("all live %.1f s after the speaker's start", float64(*s.AllLiveMS)/1000)
	}
	fmt.Fprintf(w, "summary: %d of %d listeners live%s (%s), layers %s, %d packets received, %d lost, %d changes of parent\n",
		s.Live, s.Nodes, killedWords(s.Killed), live, joined(s.Layers, " + "), s.Received, s.Lost, s.Switches)
	var frames []float64
	for _, p := range s.Peers[1:] {
		if p.Join != nil && p.Join.FirstFrameMS != nil {
			frames = append(frames, *p.Join.FirstFrameMS)
		}
	}
	if len(frames) > 0 {
		slices.Sort(frames)
		fmt.Fprintf(w, "first frame after a listener's start: median %.0f ms, slowest %.0f ms\n", frames[len(frames)/2], frames[len(frames)-1])
	}
}
