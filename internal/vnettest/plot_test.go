package vnettest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// plot writes join times, gaps, depth and control traffic as SVG files.
func (s *sim) plot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var joins []time.Duration
	for _, m := range s.all {
		if j := m.probe.read().join; j > 0 {
			joins = append(joins, j)
		}
	}
	var members, attached, depth, control curve
	members.name, attached.name = "members", "in the tree"
	for _, x := range s.times {
		at := x.taken.Sub(s.begin).Seconds()
		members.add(at, float64(x.members))
		attached.add(at, float64(x.attached))
		depth.add(at, float64(x.deepest))
		control.add(at, x.control)
	}
	for _, c := range []chart{
		{"join", "process start to first packet, ms", "% of listeners", []curve{cumulate(joins)}},
		{"gaps", "time without a packet after the parent crashed, ms", "% of orphans", []curve{cumulate(s.gaps)}},
		{"members", "s", "listeners", []curve{members, attached}},
		{"depth", "s", "deepest layer", []curve{depth}},
		{"control", "s", "libp2p, kbit/s a listener, in + out", []curve{control}},
	} {
		if err := os.WriteFile(filepath.Join(dir, c.file+".svg"), []byte(c.svg()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

type chart struct {
	file, x, y string
	curves     []curve
}

// curve is points joined by lines, from left to right.
type curve struct {
	name   string
	points [][2]float64
}

func (c *curve) add(x, y float64) { c.points = append(c.points, [2]float64{x, y}) }

// cumulate says what share of list is at most so long.
func cumulate(list []time.Duration) (c curve) {
	for i, d := range slices.Sorted(slices.Values(list)) {
		c.add(float64(d.Milliseconds()), 100*float64(i+1)/float64(len(list)))
	}
	return c
}

// svg draws the chart with axes from zero.
func (c chart) svg() string {
	const width, height, left, right, top, bottom = 720, 400, 60, 20, 20, 50
	maxX, maxY := 1e-9, 1e-9
	for _, k := range c.curves {
		for _, p := range k.points {
			maxX, maxY = max(maxX, p[0]), max(maxY, p[1])
		}
	}
	maxY *= 1.05
	x := func(v float64) float64 { return left + v/maxX*(width-left-right) }
	y := func(v float64) float64 { return height - bottom - v/maxY*(height-top-bottom) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	const steps = 5
	for i := range steps + 1 {
		vx, vy := maxX*float64(i)/steps, maxY*float64(i)/steps
		fmt.Fprintf(&b, `<path d="M%.1f %d V%d M%d %.1f H%d" stroke="#ddd"/>`+"\n", x(vx), top, height-bottom, left, y(vy), width-right)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%.4g</text>`+"\n", x(vx), height-bottom+16, vx)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%.3g</text>`+"\n", left-6, y(vy)+4, vy)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", width/2, height-10, c.x)
	fmt.Fprintf(&b, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", height/2, c.y)
	for i, k := range c.curves {
		color := []string{"#06c", "#e60"}[i%2]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, color)
		for _, p := range k.points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(p[0]), y(p[1]))
		}
		b.WriteString(`"/>` + "\n")
		if k.name != "" {
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+10, top+16*(i+1), color, k.name)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
