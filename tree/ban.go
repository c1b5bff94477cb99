package tree

import (
	"slices"
	"time"
)

// ban is a node that is not taken as a parent, a child or a backup for some time.
type ban struct {
	node  NodeID
	until time.Time
}

func (p *Peer) isBanned(node NodeID) bool {
	return slices.ContainsFunc(p.banned, func(b ban) bool { return b.node == node && p.now.Before(b.until) })
}

func (p *Peer) ban(node NodeID) { p.banFor(node, banTime) }

func (p *Peer) banFor(node NodeID, d time.Duration) {
	if p.now.Before(p.ownFault) {
		return
	}
	p.banned = slices.DeleteFunc(p.banned, func(b ban) bool {
		return b.node == node || !p.now.Before(b.until)
	})
	if len(p.banned) == maxBans {
		p.banned = slices.Delete(p.banned, 0, 1)
	}
	p.banned = append(p.banned, ban{node, p.now.Add(d)})
}

func (p *Peer) unban(node NodeID) {
	p.banned = slices.DeleteFunc(p.banned, func(b ban) bool { return b.node == node })
}
