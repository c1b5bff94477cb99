package vnettest

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the table that a simulation ends with.
type report []line

type line struct {
	name, got, want string
	wrong           bool // got is not what was wanted
	must            bool // and then the test fails
}

func (r *report) add(l line) { *r = append(*r, l) }

func (r *report) say(name, got string) { r.add(line{name: name, got: got}) }

// count is a number that must not be above most.
func (r *report) count(name string, n, most int, must bool) {
	r.add(line{name: name, got: fmt.Sprint(n), want: fmt.Sprintf("≤ %d", most), wrong: n > most, must: must})
}

// quantile and what it is to be at most; 0: whatever it is.
type quantile struct {
	q    float64
	most time.Duration
}

func (r *report) times(name string, list []time.Duration, qs []quantile) {
	if len(list) == 0 {
		r.say(name, "none")
		return
	}
	l := line{}
	var want []string
	for i, q := range qs {
		at := pick(list, q.q)
		label := fmt.Sprintf("p%g ", q.q*100)
		if i > 0 {
			l.got += ", "
		}
		l.got += label + at.Round(time.Millisecond).String()
		if q.most > 0 {
			want = append(want, fmt.Sprintf("%s≤ %v", label, q.most))
			l.wrong = l.wrong || at > q.most
		}
	}
	l.got += fmt.Sprintf(", max %v", slices.Max(list).Round(time.Millisecond))
	l.name, l.want = fmt.Sprintf("%s (%d)", name, len(list)), strings.Join(want, ", ")
	r.add(l)
}

// rates are kbit/s of many nodes, whose mean must not be above most (0: may be anything).
func (r *report) rates(name string, list []float64, most float64) {
	if len(list) == 0 {
		return
	}
	l := line{name: name, got: fmt.Sprintf("%.1f kbit/s mean, %.1f p99", mean(list), pick(list, 0.99))}
	if most > 0 {
		l.want, l.wrong = fmt.Sprintf("≤ %g mean", most), mean(list) > most
	}
	r.add(l)
}

func (r report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, l := range r {
		mark := ""
		switch {
		case l.wrong:
			mark = "NO"
		case l.want != "":
			mark = "ok"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", mark, l.name, l.got, l.want)
	}
	w.Flush()
	return b.String()
}

// pick is the q-quantile of list by nearest rank; list is not empty.
func pick[T int | float64 | time.Duration](list []T, q float64) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, x := range list {
		sum += x
	}
	return sum / float64(max(len(list), 1))
}

// orNone writes a number that may not be known.
func orNone(n *int) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}
