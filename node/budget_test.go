package node

import (
	"slices"
	"testing"
)

func TestShare(t *testing.T) {
	for _, c := range []struct {
		name        string
		total, most int
		claims      []claim
		want        []int
	}{
		{"one stream", 4, 4, []claim{{}}, []int{4}},
		{"the preferred one of three", 4, 4, []claim{{order: 3}, {order: 1}, {order: 2}}, []int{0, 4, 0}},
		{"our own before all", 4, 4, []claim{{order: 1}, {order: 9, root: true}}, []int{0, 4}},
		{"room for two", 6, 4, []claim{{order: 2}, {order: 1}, {order: 3}}, []int{2, 4, 0}},
		{"room for all", 12, 4, []claim{{}, {order: 1}, {order: 2}}, []int{4, 4, 4}},
		{"a tree in need borrows", 4, 4, []claim{{order: 1, used: 2}, {order: 2, need: true}}, []int{3, 1}},
		{"but only what is left", 4, 4, []claim{{order: 1, used: 4}, {order: 2, need: true}}, []int{4, 0}},
		{"what is used stays", 4, 4, []claim{{order: 1}, {order: 2, used: 3}}, []int{1, 3}},
		{"even a little beyond the budget", 16, 4, []claim{{order: 1, used: 9}, {order: 2, used: 9}}, []int{9, 9}},
		{"not far beyond", 4, 4, []claim{{order: 1, used: 3}, {order: 2, used: 3}}, []int{3, 1}},
		{"our own gives last, and not all", 2, 4, []claim{{order: 1, used: 3, root: true}, {order: 2, used: 2}}, []int{2, 0}},
		{"nor its last one", 0, 4, []claim{{order: 1, used: 3, root: true}, {order: 2, used: 2}}, []int{1, 0}},
		{"a tree in need that is full here", 8, 4, []claim{{order: 2, used: 4, need: true}, {order: 1}}, []int{4, 4}},
	} {
		if got := share(c.total, c.most, c.claims); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRateWatch(t *testing.T) {
	var r rateWatch
	for i, c := range []struct{ add, want uint64 }{
		{0, 0}, {1700, 1700}, {1600, 1700}, {600, 1600}, {620, 1600}, {580, 620}, {0, 620}, {610, 620}, {600, 610}, {600, 610}, {600, 600},
	} {
		r.add(c.add)
		if got := r.rate(); got != c.want {
			t.Errorf("after %d: %d, want %d", i+1, got, c.want)
		}
	}
}
