package node

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/watergy/waterfall/tree"
)

// appendRows encodes rows: a count, then for each its ID with its length, the index of
// its parent, the count of its children, its round trip in units of 0.1 ms (0: unknown)
// and its loss in thousandths and one more (0: unknown); then how many rows are of nodes
// that are silent, and their indexes. All numbers are uvarints.
func appendRows(b []byte, rows []chartRow) []byte {
	b = binary.AppendUvarint(b, uint64(len(rows)))
	for _, r := range rows {
		b = binary.AppendUvarint(b, uint64(len(r.node)))
		b = append(b, r.node...)
		b = binary.AppendUvarint(b, uint64(r.parent))
		b = binary.AppendUvarint(b, uint64(r.children))
		b = binary.AppendUvarint(b, uint64(r.rtt/(time.Millisecond/10)))
		b = binary.AppendUvarint(b, uint64(r.loss+1))
	}
	var silent []int
	for i, r := range rows {
		if r.silent {
			silent = append(silent, i)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(silent)))
	for _, i := range silent {
		b = binary.AppendUvarint(b, uint64(i))
	}
	return b
}

var errBadChart = errors.New("malformed chart")

// parseRows is the inverse; there is at least one row.
func parseRows(b []byte) ([]chartRow, error) {
	n, b, ok := cutUvarint(b, MaxChart)
	if !ok || n == 0 {
		return nil, errBadChart
	}
	rows := make([]chartRow, 0, n)
	for i := range n {
		size, rest, ok := cutUvarint(b, chartID)
		if !ok || size == 0 || size > len(rest) {
			return nil, errBadChart
		}
		r := chartRow{node: tree.NodeID(rest[:size])}
		b = rest[size:]
		var rtt, loss int
		for _, f := range []struct {
			v   *int
			max int
		}{{&r.parent, max(0, i-1)}, {&r.children, 1 << 16}, {&rtt, 600_000}, {&loss, 1001}} {
			if *f.v, b, ok = cutUvarint(b, f.max); !ok {
				return nil, errBadChart
			}
		}
		r.rtt, r.loss = time.Duration(rtt)*(time.Millisecond/10), loss-1
		rows = append(rows, r)
	}
	if len(b) == 0 { // an earlier version's
		return rows, nil
	}
	silent, b, ok := cutUvarint(b, n)
	for ; ok && silent > 0; silent-- {
		var i int
		if i, b, ok = cutUvarint(b, n-1); ok {
			rows[i].silent = true
		}
	}
	if !ok {
		return nil, errBadChart
	}
	return rows, nil
}

// cutUvarint takes a number of at most most off the front of b.
func cutUvarint(b []byte, most int) (v int, rest []byte, ok bool) {
	u, k := binary.Uvarint(b)
	if k <= 0 || u > uint64(most) {
		return 0, nil, false
	}
	return int(u), b[k:], true
}
