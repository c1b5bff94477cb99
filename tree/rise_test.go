package tree

import "testing"

// TestStronger: who takes whose place.
func TestStronger(t *testing.T) {
	strict := Reach{NAT: NATSymmetric}
	for name, c := range map[string]struct {
		a, b standing
		want bool
	}{
		"twice the slots":               {standing{slots: 8}, standing{slots: 4}, true},
		"a few more":                    {standing{slots: 7}, standing{slots: 4}, false},
		"one instead of none":           {standing{slots: 1}, standing{}, false},
		"many that few can reach":       {standing{slots: 16, reach: strict}, standing{slots: 4}, false},
		"fewer that all can reach":      {standing{slots: 4}, standing{slots: 8, reach: strict}, true},
		"here for long":                 {standing{slots: 4, age: 12}, standing{slots: 4, age: 2}, true},
		"hardly longer":                 {standing{slots: 4, age: 11}, standing{slots: 4, age: 2}, false},
		"long, but so has the other":    {standing{slots: 4, age: 60}, standing{slots: 4, age: 40}, false},
		"long, with less to carry":      {standing{slots: 3, age: 200}, standing{slots: 4}, false},
		"long, with nothing to carry":   {standing{age: 200}, standing{}, false},
		"long, and nobody can reach it": {standing{slots: 3, age: 200, reach: strict}, standing{}, false},
	} {
		if got := c.a.stronger(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
