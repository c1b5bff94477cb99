package dht

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// After a bootstrap node came back the record's maker puts it again at once; the other
	// members look a while later, not all at the same time, whether it is there.
	careAfter = 3 * time.Second
	careSpan  = 17 * time.Second
	// careServers is how often the maker looks whether there are new servers to put it to.
	careServers = 10 * time.Second
)

// recordCare notices when a room's record has to be put before its time: servers come and
// go, and a bootstrap node that was restarted has forgotten everything.
type recordCare struct {
	p        *Presence
	returned <-chan struct{} // closed when a bootstrap node is back
	next     time.Time       // missing is to be asked then
	servers  []peer.ID       // in the routing table when the record was put
}

func (p *Presence) newRecordCare(now time.Time) *recordCare {
	c := &recordCare{p: p, returned: p.h.afterReturn()}
	c.next = now.Add(c.pause())
	return c
}

// maker says whether the record came from here.
func (c *recordCare) maker() bool { return !c.p.room().fetched }

func (c *recordCare) pause() time.Duration {
	if c.maker() {
		return careServers
	}
	return roomRefresh
}

// missing says whether the record should be put now.
func (c *recordCare) missing(now time.Time) bool {
	select {
	case <-c.returned:
		c.returned = c.p.h.afterReturn()
		if c.maker() {
			return true
		}
		c.next = now.Add(careAfter + rand.N(careSpan))
	default:
	}
	if now.Before(c.next) {
		return false
	}
	c.next = now.Add(c.pause())
	if c.maker() {
		return slices.ContainsFunc(c.p.h.kad.RoutingTable().ListPeers(), func(id peer.ID) bool { return !slices.Contains(c.servers, id) })
	}
	r := c.p.room()
	value, answered := c.p.h.get(c.p.ctx, dhtKey(kindRoom, r.key, place{}, nil))
	return answered && value == nil
}

// put notes that the record has just been put.
func (c *recordCare) put() { c.servers = c.p.h.kad.RoutingTable().ListPeers() }
