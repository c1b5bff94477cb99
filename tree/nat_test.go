package tree

import (
	"reflect"
	"testing"
)

// TestMeets: every pair of kinds can be linked but symmetric with symmetric or restricted
// (measured in network namespaces, docs/tree.md), and any pair on one site.
func TestMeets(t *testing.T) {
	for a := range nats {
		for b := range nats {
			want := !(a == NATSymmetric && b >= NATRestricted || b == NATSymmetric && a >= NATRestricted)
			if got := (Reach{NAT: a}).Meets(Reach{NAT: b}); got != want {
				t.Errorf("%d with %d: %v", a, b, got)
			}
			if got := (needOf(Reach{NAT: a}) <= Reach{NAT: b}.serves()); got != want {
				t.Errorf("an opening of %d for %d: %v", b, a, got)
			}
			if !(Reach{a, 7}).Meets(Reach{b, 7}) || (Reach{a, 7}).Meets(Reach{b, 8}) != want {
				t.Errorf("%d with %d: sites do not count", a, b)
			}
		}
	}
}

// TestOldOffers: what a node says that knows nothing of NATs is read as unknown.
func TestOldOffers(t *testing.T) {
	old := Marshal(vectorStream, HandUp{Hops: 1, Deepest: 4, Offer: Offer{ID: 1, Joiner: "kid", Slots: 8}})
	_, m, err := Unmarshal(old[:len(old)-3])
	if want := (HandUp{Hops: 1, Deepest: 4, Offer: Offer{ID: 1, Joiner: "kid", Slots: 8}}); err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("%+v, %v", m, err)
	}
	sum := Marshal(vectorStream, Sum{Seen: 3, Slots: 4, Layers: []uint32{1}})
	if _, m, err := Unmarshal(sum[:len(sum)-5]); err != nil || !reflect.DeepEqual(m, Sum{Seen: 3, Slots: 4, Layers: []uint32{1}}) {
		t.Errorf("%+v, %v", m, err)
	}
}
