package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/watergy/waterfall/node"
)

// Colours of a terminal, as the page has them: clear, some loss or slow, bad.
const (
	colourGood = "\x1b[36m"
	colourFair = "\x1b[33m"
	colourPoor = "\x1b[31m"
	colourDim  = "\x1b[2m"
	colourBold = "\x1b[1m"
	colourOff  = "\x1b[0m"
)

// painter colours text, or leaves it as it is.
type painter bool

func (p painter) in(colour, text string) string {
	if !p || colour == "" {
		return text
	}
	return colour + text + colourOff
}

// drawTop is what top shows of one look; rates are since before.
func drawTop(now, before topLook, chosen int, colours bool) string {
	paint := painter(colours)
	var b strings.Builder
	st := now.status
	fmt.Fprintf(&b, "%s %s  dht %s, %s\n", paint.in(colourBold, "wfnode"), shortID(st.PeerID), st.DHT.Mode, counted(st.DHT.Connected, "peer"))
	type entry struct {
		room   node.RoomStatus
		stream node.StreamStatus
	}
	var all []entry
	for _, r := range st.Rooms {
		if len(r.Streams) == 0 {
			fmt.Fprintf(&b, "room %s (%s): no one is speaking\n", orID(r.Name, r.ID), r.Admission)
		}
		for _, s := range r.Streams {
			all = append(all, entry{r, s})
		}
	}
	if len(st.Rooms) == 0 {
		b.WriteString("in no room\n")
	}
	if len(all) == 0 {
		return b.String()
	}
	e := all[chosen%len(all)]
	fmt.Fprintf(&b, "room %s (%s), stream %d of %d of speaker %s\n", orID(e.room.Name, e.room.ID), e.room.Admission,
		chosen%len(all)+1, len(all), shortID(e.stream.Speaker))
	drawStream(&b, paint, e.stream, streamIn(before, e.stream.ID), now.at.Sub(before.at).Seconds())
	i := slices.IndexFunc(now.charts, func(c node.StreamChart) bool { return c.Stream == e.stream.ID })
	if i >= 0 {
		drawChart(&b, paint, now.charts[i])
	}
	return b.String()
}

// orID is the name of a room, or its ID. Names are strangers' words: nothing in them may
// steer the terminal.
func orID(name, id string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	if name != "" {
		return name
	}
	return shortID(id)
}

func streamIn(l topLook, id string) *node.StreamStatus {
	for _, r := range l.status.Rooms {
		for _, s := range r.Streams {
			if s.ID == id {
				return &s
			}
		}
	}
	return nil
}

func drawStream(b *strings.Builder, paint painter, s node.StreamStatus, past *node.StreamStatus, seconds float64) {
	colour := colourGood
	if s.State != "live" {
		colour = colourPoor
	}
	parts := []string{paint.in(colour, s.State), s.Role}
	if s.Layer != nil {
		parts = append(parts, fmt.Sprintf("layer %d", *s.Layer))
	}
	if s.PathDelayMS != nil {
		parts = append(parts, fmt.Sprintf("%.0f ms behind the speaker", *s.PathDelayMS))
	}
	if past != nil && seconds > 0.5 {
		rate := func(now, then uint64) string {
			return formatRate(float64(now-min(now, then)) * 8 / seconds)
		}
		parts = append(parts, "in "+rate(s.MediaBytes.In+s.FeedbackBytes.In, past.MediaBytes.In+past.FeedbackBytes.In),
			"out "+rate(s.MediaBytes.Out+s.FeedbackBytes.Out, past.MediaBytes.Out+past.FeedbackBytes.Out))
	}
	fmt.Fprintln(b, strings.Join(parts, " · "))
	if s.Verdict != nil {
		msg, hint := splitHint(*s.Verdict)
		fmt.Fprintln(b, paint.in(colourPoor, msg))
		if hint != "" {
			fmt.Fprintln(b, "hint:", hint)
		}
	}
	var lost, repaired uint64
	for _, t := range s.Tracks {
		lost += t.Lost
		repaired += t.Repaired
	}
	if s.Role == "speaker" {
		fmt.Fprintf(b, "feeding %d of %d\n\n", s.Slots.Used, s.Slots.Max)
		return
	}
	fmt.Fprintf(b, "fed by %s, in reserve %s, feeding %d of %d, %d lost, %d repaired, %s of parent\n\n",
		shortName(s.Parent), shortName(s.Backup), s.Slots.Used, s.Slots.Max, lost, repaired, counted(s.Switches, "change"))
}

// counted is a number of things.
func counted[N int | uint64](n N, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func shortName(id *string) string {
	if id == nil {
		return "none"
	}
	return shortID(*id)
}

func formatRate(bps float64) string {
	if bps < 1e6 {
		return fmt.Sprintf("%.0f kbit/s", bps/1e3)
	}
	return fmt.Sprintf("%.2f Mbit/s", bps/1e6)
}

// drawChart draws the tree: the nodes that are known one a line, of the others how
// many are in each layer; a tree of more than node.MaxChart nodes as its sums.
func drawChart(b *strings.Builder, paint painter, c node.StreamChart) {
	total := 0
	for _, n := range c.Layers {
		total += n
	}
	total = max(total, len(c.Nodes))
	fmt.Fprintf(b, "%s, by layer %s\n", counted(total, "node"), joined(c.Layers, " + "))
	if total > node.MaxChart {
		bar := func(n int) float64 { return math.Log2(float64(1 + n)) } // as on the page
		most := bar(slices.Max(c.Layers))
		for layer, n := range c.Layers {
			fmt.Fprintf(b, "layer %d %s %d\n", layer, paint.in(colourGood, strings.Repeat("█", max(1, int(bar(n)/most*40)))), n)
		}
		return
	}
	below, known, strangers := map[string][]node.ChartNode{}, map[string]bool{}, slices.Clone(c.Layers)
	for _, n := range c.Nodes {
		known[n.Peer] = true
		if n.Parent != nil {
			below[*n.Parent] = append(below[*n.Parent], n)
		}
		if n.Layer < len(strangers) {
			strangers[n.Layer]--
		}
	}
	var draw func(n node.ChartNode, first, rest string)
	draw = func(n node.ChartNode, first, rest string) {
		fmt.Fprintf(b, "%s%s\n", paint.in(colourDim, first), chartLine(paint, n))
		for i, k := range below[n.Peer] {
			if i == len(below[n.Peer])-1 {
				draw(k, rest+"└─ ", rest+"   ")
			} else {
				draw(k, rest+"├─ ", rest+"│  ")
			}
		}
	}
	for _, n := range c.Nodes {
		if n.Parent == nil || !known[*n.Parent] {
			draw(n, "", "")
		}
	}
	for layer, n := range strangers {
		if n > 0 {
			fmt.Fprintf(b, "%s\n", paint.in(colourDim, fmt.Sprintf("and %d more in layer %d", n, layer)))
		}
	}
}

// chartLine is one node of a chart; its dot has the colour of the link above it.
func chartLine(paint painter, n node.ChartNode) string {
	worst, figures := 0, []string{}
	judge := func(v, fair, poor float64) {
		switch {
		case v > poor:
			worst = 2
		case v > fair:
			worst = max(worst, 1)
		}
	}
	if n.RTTMS != nil {
		judge(*n.RTTMS, 100, 250)
		figures = append(figures, fmt.Sprintf("%.1f ms", *n.RTTMS))
	}
	if n.Loss != nil {
		judge(*n.Loss, .005, .02)
		figures = append(figures, fmt.Sprintf("%.1f%% loss", *n.Loss*100))
	}
	if n.Children != nil && *n.Children > 0 {
		figures = append(figures, fmt.Sprintf("feeds %d", *n.Children))
	}
	name := shortID(n.Peer)
	if n.Layer == 0 {
		name += " speaker"
	}
	if n.Self {
		name = paint.in(colourBold, name+" (this node)")
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s  %s", paint.in([]string{colourGood, colourFair, colourPoor}[worst], "●"), name, strings.Join(figures, "  ")))
}

// window cuts what fits on a terminal out of text, from line scroll on as far as that
// is there; it returns the line that it began with.
func window(text string, width, height, scroll int) (string, int) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	scroll = max(0, min(scroll, len(lines)-height))
	lines = lines[scroll:min(len(lines), scroll+max(height, 1))]
	for i, l := range lines {
		lines[i] = cutLine(l, width)
	}
	return strings.Join(lines, "\n"), scroll
}

// cutLine keeps the first width columns of a line; colours take none.
func cutLine(s string, width int) string {
	var b strings.Builder
	for columns := 0; s != ""; {
		if end := strings.IndexByte(s, 'm') + 1; end > 0 && strings.HasPrefix(s, "\x1b[") {
			b.WriteString(s[:end])
			s = s[end:]
			continue
		}
		_, size := utf8.DecodeRuneInString(s)
		if columns < width {
			b.WriteString(s[:size])
		}
		columns++
		s = s[size:]
	}
	return b.String()
}
