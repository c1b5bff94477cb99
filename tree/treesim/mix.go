package treesim

import (
	"fmt"
	"math/rand/v2"

	"github.com/watergy/waterfall/tree"
)

// Mix says how many slots the nodes' access lines allow.
type Mix string

// Even gives everybody Config.Slots. Access is 30% leaf-only, 40% 2–4 slots, 20% 5–8, 10%
// 16 (mean 4.1). Scarce is what mobile rooms look like: 45% leaf-only, 35% 1–2, 15% 3–4,
// 5% 5 (mean 1.3).
const (
	Even   Mix = ""
	Access Mix = "access"
	Scarce Mix = "scarce"
)

// draw returns a node's slots as tree.Config wants them: negative means none.
func (m Mix) draw(rng *rand.Rand, even int) (int, error) {
	x := rng.Float64()
	between := func(lo, hi int) int { return lo + rng.IntN(hi-lo+1) }
	switch m {
	case Even:
		return even, nil
	case Access:
		switch {
		case x < .3:
			return -1, nil
		case x < .7:
			return between(2, 4), nil
		case x < .9:
			return between(5, 8), nil
		}
		return 16, nil
	case Scarce:
		switch {
		case x < .45:
			return -1, nil
		case x < .8:
			return between(1, 2), nil
		case x < .95:
			return between(3, 4), nil
		}
		return 5, nil
	}
	return 0, fmt.Errorf("treesim: unknown mix %q (hint: access or scarce)", m)
}

// slotsOf is what draw's result means.
func slotsOf(n int) int {
	if n == 0 {
		return tree.DefaultSlots
	}
	return max(n, 0)
}
