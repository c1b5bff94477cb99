package node

import (
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/tree"
)

var exampleRows = []chartRow{
	{node: "relay", children: 2, rtt: 12500 * time.Microsecond, loss: 3},
	{node: "leaf1", rtt: 300 * time.Microsecond},
	{node: "leaf2", loss: -1, silent: true},
}

// The bytes are those that docs/protocol-chart.md shows.
func TestChartRowsOnTheWire(t *testing.T) {
	b := appendRows(nil, exampleRows)
	doc, err := os.ReadFile("../docs/protocol-chart.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), hex.EncodeToString(b)) {
		t.Errorf("the document has not the vector %x", b)
	}
	got, err := parseRows(append(b, "later versions may add"...))
	if err != nil || !reflect.DeepEqual(got, exampleRows) {
		t.Errorf("read back %v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, {0}, {201, 1}, b[:len(b)-1], b[:len(b)-3], append(b[:len(b)-1:len(b)-1], 3), {1, 65}, {1, 1, 'a', 1, 0, 0, 0}, {1, 1, 'a', 0, 0, 0, 0xea, 0x07}} {
		if rows, err := parseRows(bad); err == nil {
			t.Errorf("%x was read as %v", bad, rows)
		}
	}
}

func FuzzChartRows(f *testing.F) {
	f.Add(appendRows(nil, exampleRows))
	f.Add([]byte{1, 1, 'a', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := parseRows(b)
		if err != nil {
			return
		}
		for i, r := range rows {
			if r.node == "" || i > 0 && (r.parent < 0 || r.parent >= i) {
				t.Fatalf("row %d of %v", i, rows)
			}
		}
		again, err := parseRows(appendRows(nil, rows))
		if err != nil || !reflect.DeepEqual(again, rows) {
			t.Fatalf("%v became %v (%v)", rows, again, err)
		}
	})
}

// Listeners count the layers as the newest head does, the speaker as it knows them now.
func TestLayersOf(t *testing.T) {
	head := tree.Head{Layers: []uint32{1, 4, 8}}
	if got := layersOf(tree.View{Head: head, Layers: []uint32{1, 2}}); !reflect.DeepEqual(got, []int{1, 4, 8}) {
		t.Errorf("a listener says %v", got)
	}
	if got := layersOf(tree.View{Root: true, Head: head, Layers: []uint32{1, 3}}); !reflect.DeepEqual(got, []int{1, 3}) {
		t.Errorf("the speaker says %v", got)
	}
}
