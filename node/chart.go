package node

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/tree"
)

// A chart is a picture of a stream's tree below this node, gathered only while somebody
// looks: an ask goes down the tree and is repeated while the page is open, and each
// node that has been asked sends its parent a row for every node at and below it.
// docs/protocol-chart.md has the bytes.

// MaxChart is how many nodes a chart shows one by one; the subtrees of larger trees are
// not asked.
const MaxChart = 200

const (
	chartAsk   = 0x40 // types of control messages, beside those of package tree
	chartRows  = 0x41
	chartPause = 250 * time.Millisecond // between two messages of rows to the parent
	chartProbe = 100 * time.Millisecond // children are asked for a sign of life
	chartQuiet = 350 * time.Millisecond // and are silent when none has come for so long
	chartEvery = time.Second            // an ask is repeated, rows are sent again without change
	chartFor   = 3 * time.Second        // an ask is good for
	chartID    = 64                     // bytes of a node's ID
	lossSpan   = 5 * time.Second        // over which a loss is reckoned
)

// chartRow is a node of a chart. The first row of a list is its sender.
type chartRow struct {
	node     tree.NodeID
	parent   int // index of an earlier row; meaningless in the first
	children int // may be more than the list holds
	rtt      time.Duration
	loss     int  // packets in a thousand that did not come by themselves; negative: unknown
	silent   bool // its parent hears nothing of it
}

// chart is what a stream knows of its tree. Owned by the loop.
type chart struct {
	local   time.Time // a page here looks until then
	parent  tree.NodeID
	asked   time.Time // parent wants rows until then
	askedAt time.Time // we asked our children
	sentAt  time.Time
	sent    []chartRow
	below   map[tree.NodeID][]chartRow // by child
	due     time.Time                  // zero: nothing to do
	since   time.Time                  // wanted without a break, and passed on time
	passed  time.Time

	loss      int // as in chartRow
	lossAt    time.Time
	lossFrom  uint64 // packets that did not come by themselves, as of lossAt
	lossTotal uint64
}

// wanted says whether anybody looks.
func (c *chart) wanted(now time.Time) bool { return now.Before(c.local) || now.Before(c.asked) }

// lookAtChart keeps the chart alive while a page is open here.
func (s *live) lookAtChart(now time.Time) {
	s.chart.local = now.Add(chartFor)
	s.passChart(now)
}

// passChart does what is due: ask the children, tell the parent.
func (s *live) passChart(now time.Time) {
	c := &s.chart
	if !c.wanted(now) {
		c.below, c.sent, c.due, c.lossAt, c.passed = nil, nil, time.Time{}, time.Time{}, time.Time{}
		return
	}
	if now.Sub(c.passed) > chartQuiet { // nobody looked, or this process stood still
		c.since = now
	}
	c.due, c.passed = now.Add(chartProbe), now
	s.measureLoss(now)
	v := s.tree.View()
	isChild := map[tree.NodeID]bool{}
	for _, k := range v.Children {
		isChild[k.Node] = true
		if l := s.room.n.linkTo(k.Node); l != nil && v.Subtree <= MaxChart {
			l.Probe()
		}
	}
	maps.DeleteFunc(c.below, func(id tree.NodeID, _ []chartRow) bool { return !isChild[id] })
	if v.Subtree <= MaxChart && now.Sub(c.askedAt) >= chartEvery {
		c.askedAt = now
		for id := range isChild {
			s.room.n.send(id, append(s.id[:len(s.id):len(s.id)], chartAsk))
		}
	}
	if !now.Before(c.asked) || c.parent != v.Parent {
		return
	}
	rows := s.chartBelow(v)
	if age := now.Sub(c.sentAt); age >= chartEvery || age >= chartPause && !slices.Equal(rows, c.sent) {
		c.sentAt, c.sent = now, rows
		s.room.n.send(c.parent, appendRows(append(s.id[:len(s.id):len(s.id)], chartRows), rows))
	}
}

// measureLoss reckons anew from time to time how much did not come by itself.
func (s *live) measureLoss(now time.Time) {
	c := &s.chart
	if !c.lossAt.IsZero() && now.Sub(c.lossAt) < lossSpan {
		return
	}
	var missed, total uint64
	for _, t := range s.hist.Stats() {
		missed += t.Lost + t.Repaired
		total += t.Received + t.Lost
	}
	fresh := c.lossAt.IsZero()
	dm, dt := missed-c.lossFrom, total-c.lossTotal
	c.lossAt, c.lossFrom, c.lossTotal = now, missed, total
	c.loss = -1
	if !fresh && missed >= dm && dt > 0 && dt <= total {
		c.loss = int(min(1000, dm*1000/dt))
	}
}

// chartBelow lists this node and, as far as known, those below it.
func (s *live) chartBelow(v tree.View) []chartRow {
	self := chartRow{node: tree.NodeID(s.room.n.ID()), children: len(v.Children), loss: s.chart.loss}
	if l := s.room.n.linkTo(v.Parent); l != nil {
		self.rtt = l.Stats().RTT.Round(time.Millisecond / 10)
	}
	rows := []chartRow{self}
	kids := slices.Clone(v.Children)
	slices.SortFunc(kids, func(a, b tree.ChildView) int { return strings.Compare(string(a.Node), string(b.Node)) })
	for _, k := range kids {
		below := s.chart.below[k.Node]
		silent := s.deaf(k.Node)
		if len(below) == 0 || silent {
			below = []chartRow{{node: k.Node, loss: -1, silent: silent}}
			if l := s.room.n.linkTo(k.Node); l != nil {
				below[0].rtt = l.Stats().RTT.Round(time.Millisecond / 10)
			}
		}
		at := len(rows)
		for i, r := range below[:min(len(below), MaxChart-len(rows))] {
			if r.parent += at; i == 0 {
				r.parent = 0
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// deaf says whether nothing has come from a child for longer than the answers to probes
// take. The tree may still hold on to it: a picture costs nobody anything.
func (s *live) deaf(child tree.NodeID) bool {
	l := s.room.n.linkTo(child)
	if l == nil {
		return false
	}
	c, st := &s.chart, l.Stats()
	quiet := chartQuiet + st.RTT
	return c.passed.Sub(c.since) > quiet && !st.Heard.IsZero() && c.passed.Sub(st.Heard) > quiet
}

// chartMessage takes a control message if it is one of a chart.
func (s *live) chartMessage(from tree.NodeID, b []byte) bool {
	if len(b) <= len(s.id) || b[len(s.id)] != chartAsk && b[len(s.id)] != chartRows {
		return false
	}
	now, c, v := time.Now(), &s.chart, s.tree.View()
	if b[len(s.id)] == chartAsk {
		if from != v.Parent {
			return true
		}
		fresh := !c.wanted(now)
		c.parent, c.asked = from, now.Add(chartFor)
		if fresh {
			s.passChart(now)
		}
		return true
	}
	isChild := slices.ContainsFunc(v.Children, func(k tree.ChildView) bool { return k.Node == from })
	rows, err := parseRows(b[len(s.id)+1:])
	if err != nil || rows[0].node != from {
		s.logger().Debug("bad chart", "err", err)
		return true
	}
	if isChild && c.wanted(now) {
		if c.below == nil {
			c.below = map[tree.NodeID][]chartRow{}
		}
		c.below[from] = rows
	}
	return true
}

// Charts pictures the trees of this node's streams as far as they are known here: the
// path above, this node, and what is below it, which is asked for while Charts is
// called at least every few seconds. Nodes are in the order of their layers.
func (n *Node) Charts() []StreamChart {
	charts := []StreamChart{}
	n.do(func() {
		for _, r := range n.rooms {
			for _, s := range r.sorted() {
				s.lookAtChart(time.Now())
				charts = append(charts, s.describe())
			}
		}
	})
	return charts
}

func (s *live) describe() StreamChart {
	v := s.tree.View()
	c := StreamChart{Stream: s.name(), Layers: layersOf(v), Nodes: []ChartNode{}}
	if !v.Root && !v.Attached {
		return c
	}
	var above *string
	for i, id := range v.Path {
		name := peer.ID(id).String()
		c.Nodes = append(c.Nodes, ChartNode{Peer: name, Parent: above, Layer: i})
		above = &name
	}
	rows := s.chartBelow(v)
	names, layers := make([]string, len(rows)), make([]int, len(rows))
	for i, r := range rows {
		if r.silent { // as good as gone
			if gone := layers[r.parent] + 1; gone < len(c.Layers) && c.Layers[gone] > 0 {
				c.Layers[gone]--
			}
			continue
		}
		names[i] = peer.ID(r.node).String()
		node := ChartNode{Peer: names[i], Self: i == 0, Children: &r.children, RTTMS: millis(r.rtt)}
		if node.Parent, layers[i] = above, v.Layer; i > 0 {
			node.Parent, layers[i] = &names[r.parent], layers[r.parent]+1
		}
		node.Layer = layers[i]
		if r.loss >= 0 && !v.Root || r.loss >= 0 && i > 0 {
			share := float64(r.loss) / 1000
			node.Loss = &share
		}
		c.Nodes = append(c.Nodes, node)
	}
	slices.SortStableFunc(c.Nodes, func(a, b ChartNode) int { return a.Layer - b.Layer })
	return c
}

// layersOf is how many nodes each layer of a stream's tree has, the speaker's first, as
// far as this node knows: the speaker sees changes at once, others hear of them with the
// next head.
func layersOf(v tree.View) []int {
	layers := []int{}
	if !v.Root {
		for _, k := range v.Head.Layers {
			layers = append(layers, int(k))
		}
		return layers
	}
	for _, k := range v.Layers {
		layers = append(layers, int(k))
	}
	return layers
}

// StreamChart is a picture of one stream's tree.
type StreamChart struct {
	Stream string      `json:"stream"`
	Layers []int       `json:"layers"` // how many nodes each layer has in all, the speaker's first
	Nodes  []ChartNode `json:"nodes"`  // those that this node knows, by layer
}

// ChartNode is a node of a StreamChart. Unknown values are null.
type ChartNode struct {
	Peer     string   `json:"peer"`
	Parent   *string  `json:"parent"`
	Layer    int      `json:"layer"`
	Self     bool     `json:"self"`
	Children *int     `json:"children"`
	RTTMS    *float64 `json:"rtt_ms"` // to its parent
	Loss     *float64 `json:"loss"`   // share of packets that did not come by themselves
}
