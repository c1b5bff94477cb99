package tree

import "time"

// View is what a person sees of a Peer.
type View struct {
	Root     bool
	Attached bool
	Layer    int      // meaningful while Attached
	Path     []NodeID // ancestors, root first, without self
	Parent   NodeID   // empty: none
	Backup   NodeID   // empty: none
	Children []ChildView
	Slots    int
	Subtree  int      // nodes at and below, self included
	Layers   []uint32 // the same by layer, self first
	Below    int      // layers below self
	Switches int      // times the parent changed after the first

	PathDelay *time.Duration // of the stream from the root to here; nil: unknown
	Head      Head

	// OutOfReach says, of one that is not attached, that there is room but nobody there can
	// link with it; of the speaker, that a joiner met that in the last minute.
	OutOfReach bool
}

// ChildView is one child as its parent sees it.
type ChildView struct {
	Node    NodeID
	Subtree int
}

// View returns a snapshot for status pages.
func (p *Peer) View() View {
	v := View{
		Root:     p.cfg.Root,
		Attached: p.attached() && !p.left,
		Layer:    p.layer(),
		Path:     hopsToNodes(p.path),
		Parent:   p.parent,
		Slots:    p.slots,
		Subtree:  p.subtree(),
		Layers:   p.layers(),
		Below:    len(p.layers()) - 1,
		Switches: p.switches,
		Head:     p.head,

		OutOfReach: !p.outOfReach.IsZero() && p.now.Sub(p.outOfReach) < time.Minute,
	}
	if b := p.backup; b != nil && b.up && b.told {
		v.Backup = b.node
	}
	if p.cfg.Root || p.rtt > 0 {
		d := p.delay()
		v.PathDelay = &d
	}
	for _, c := range p.kids {
		if c.attached {
			v.Children = append(v.Children, ChildView{Node: c.node, Subtree: c.subtree})
		}
	}
	return v
}
