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

func (p *Peer) isBanned(node NodeID) bool { return hasBan(p.banned, node, p.now) }

func (p *Peer) ban(node NodeID) { p.banFor(node, banTime) }

func (p *Peer) banFor(node NodeID, d time.Duration) {
	if !p.now.Before(p.ownFault) {
		p.banned = addBan(p.banned, ban{node, p.now.Add(d)}, p.now)
	}
}

// unwelcome does not hear node's offers for some time.
func (p *Peer) unwelcome(node NodeID, d time.Duration) {
	p.unheard = addBan(p.unheard, ban{node, p.now.Add(d)}, p.now)
}

func (p *Peer) isUnheard(node NodeID) bool { return hasBan(p.unheard, node, p.now) }

func hasBan(list []ban, node NodeID, now time.Time) bool {
	return slices.ContainsFunc(list, func(b ban) bool { return b.node == node && now.Before(b.until) })
}

// addBan forgets the oldest if there are too many.
func addBan(list []ban, add ban, now time.Time) []ban {
	list = slices.DeleteFunc(list, func(b ban) bool { return b.node == add.node || !now.Before(b.until) })
	if len(list) == maxBans {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, add)
}

func (p *Peer) unban(node NodeID) {
	p.banned = slices.DeleteFunc(p.banned, func(b ban) bool { return b.node == node })
}
