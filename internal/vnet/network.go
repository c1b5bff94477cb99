// Package vnet is a simulated packet network for tests. Inside a testing/synctest
// bubble libp2p (QUIC) and pion (ICE, DTLS, SRTP, SCTP) run over it unpatched and in
// virtual time: an hour of a room costs what its computing costs, no more.
//
// It owns packets from WriteTo to ReadFrom: their delay, loss, queues, what NATs let
// through, crashes and partitions. It knows nothing of what the packets carry.
//
// What a bubble asks for:
//   - no real socket (its waits freeze virtual time): hand Host.Transport and
//     Host.Libp2pOptions to everything that wants a network, bind no console;
//   - no mutex held across a wait (the bubble hangs, the test times out);
//   - certificates made inside it (the clock starts in the year 2000);
//   - every goroutine ended when the test returns, else a "deadlock" panic; Run does
//     the closing dance for the network itself.
//
// Computing costs no virtual time; see Clock for measuring it. A bubble uses one core
// (Run sets GOMAXPROCS to 1), so a machine is used best by one test process a core; and
// its garbage is short-lived, so GOGC=400 helps where there is memory.
package vnet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Config for a Network.
type Config struct {
	Seed         uint64        // of loss and jitter; the same seed gives the n-th packet of a flow the same fate
	DefaultDelay time.Duration // one way between two hosts with no Delay of their own; 0: none but the quantum
	Quantum      time.Duration // packets are delivered at multiples of this; 0 means 1 ms
}

// Stats counts packets by their fate.
type Stats struct {
	Sent        uint64 // all that were written
	Delivered   uint64 // into a receive buffer
	Lost        uint64 // by the dice (HostConfig.Loss)
	QueueDrops  uint64 // at a full uplink, downlink or receive buffer
	Filtered    uint64 // by a NAT that had not seen the receiver speak to the sender
	Cut         uint64 // by a partition, or a host that is down
	Unreachable uint64 // nobody listens there
	TooLarge    uint64 // more than fits 1,500 bytes of Ethernet
}

// maxPayload is what UDP over IPv4 fits in an Ethernet frame: 1,500 − 20 − 8. Larger
// packets vanish, as where the don't-fragment bit is set.
const maxPayload = 1472

// Network joins hosts. Its mutex guards everything of its hosts and sockets too; it is
// never held across a wait.
type Network struct {
	start   time.Time
	quantum time.Duration
	delay   time.Duration
	seed    uint64

	mu        sync.Mutex
	hosts     map[netip.Addr]*Host
	gateways  map[netip.Addr]*gateway
	agenda    agenda
	partition func(a, b netip.Addr) bool
	stats     Stats

	wake chan struct{} // the agenda has a new earliest tick
	quit chan struct{}
	wg   sync.WaitGroup // the scheduler and STUN servers
}

// New starts a network. Close it after everything that uses it.
func New(cfg Config) *Network {
	n := &Network{
		start:    time.Now(),
		quantum:  cfg.Quantum,
		delay:    cfg.DefaultDelay,
		seed:     cfg.Seed,
		hosts:    make(map[netip.Addr]*Host),
		gateways: make(map[netip.Addr]*gateway),
		agenda:   agenda{at: make(map[int64][]packet)},
		wake:     make(chan struct{}, 1),
		quit:     make(chan struct{}),
	}
	if n.quantum <= 0 {
		n.quantum = time.Millisecond
	}
	n.wg.Go(n.run)
	return n
}

// Close closes every socket, stops the network and waits for its goroutines.
func (n *Network) Close() {
	n.mu.Lock()
	for _, h := range n.hosts {
		for _, c := range h.conns {
			c.closeLocked()
		}
	}
	n.mu.Unlock()
	close(n.quit)
	n.wg.Wait()
}

// SetDown crashes a host, or brings it back: while down, nothing that it sends and
// nothing on the way to it arrives. Its goroutines and sockets live on unheard.
func (n *Network) SetDown(ip netip.Addr, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[ip]; h != nil {
		h.down = down
	}
}

// SetPartition cuts every pair of hosts for which cut is true, in the direction a to b;
// nil heals. Packets on the way are lost too. cut must not call into the network.
func (n *Network) SetPartition(cut func(a, b netip.Addr) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.partition = cut
}

// Stats returns the counts since the start.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// packet is on the way. Its addresses are those on the wire between NATs.
type packet struct {
	from, to netip.AddrPort
	src, dst *Host
	port     uint16 // of dst, behind its NAT
	queued   bool   // has been through the receiver's downlink
	data     []byte
}

// send decides on a packet's fate as far as it is known when sent: who gets it and
// when. It never blocks; data is not kept. It reports whether c was open.
func (n *Network) send(c *Conn, to netip.AddrPort, data []byte) bool {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	data = slices.Clone(data)
	now := time.Now()

	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return false
	}
	n.stats.Sent++
	src := c.host
	f := c.flow(to, now)
	// Always two draws, so that the n-th packet's luck depends on nothing but n.
	dice, jitter := f.dice.Float64(), f.dice.Float64()
	dst, port, from, fate := n.route(c, to)
	if src != dst && !src.down {
		src.at(c.local.Port()).count(c.local.Port(), data, false)
	}
	if fate == nil && src == dst { // loopback
		n.schedule(now, packet{from: from, to: to, src: src, dst: dst, port: port, data: data})
		return true
	}
	var leaves time.Time
	if fate == nil {
		leaves, fate = n.depart(now, src, dst, len(data), dice)
	}
	if fate != nil {
		*fate++
		return true
	}
	late := time.Duration(jitter * float64(src.cfg.Jitter+dst.cfg.Jitter))
	n.schedule(leaves.Add(src.delay+dst.delay+late),
		packet{from: from, to: to, src: src, dst: dst, port: port, data: data})
	return true
}

// depart says when a payload of size bytes has left src for dst, or the count of the
// fate that it meets. The caller holds n.mu.
func (n *Network) depart(now time.Time, src, dst *Host, size int, dice float64) (time.Time, *uint64) {
	if size > maxPayload {
		return now, &n.stats.TooLarge
	}
	if n.cut(src, dst) {
		return now, &n.stats.Cut
	}
	leaves, ok := src.uplink.pass(now, size)
	switch {
	case !ok:
		return now, &n.stats.QueueDrops
	case dice >= (1-src.cfg.Loss)*(1-dst.cfg.Loss):
		return now, &n.stats.Lost
	}
	return leaves, nil
}

// arrive ends a packet's way. The caller holds n.mu.
func (n *Network) arrive(now time.Time, p packet) {
	if p.src != p.dst && n.cut(p.src, p.dst) {
		n.stats.Cut++
		return
	}
	if p.src != p.dst && !p.queued {
		at, ok := p.dst.downlink.pass(now, len(p.data))
		if !ok {
			n.stats.QueueDrops++
			return
		}
		if p.queued = true; at.After(now) {
			n.schedule(at, p)
			return
		}
	}
	c := p.dst.conns[p.port]
	switch {
	case c == nil || c.remote.IsValid() && c.remote != p.from:
		n.stats.Unreachable++
	case !c.hears(p, now):
		n.stats.Filtered++
	case !c.push(p):
		n.stats.QueueDrops++
	default:
		n.stats.Delivered++
		if p.src != p.dst {
			p.dst.at(p.port).count(p.port, p.data, true)
		}
	}
}

// cut says whether nothing gets from a to b. The caller holds n.mu.
func (n *Network) cut(a, b *Host) bool {
	return a.down || b.down || n.partition != nil && n.partition(a.ip, b.ip)
}

// shaper is a line of some rate with a drop-tail queue in front. The zero shaper passes
// everything at once.
type shaper struct {
	rate  int64 // bits a second; 0: no limit
	queue time.Duration
	free  time.Time // when the line is next idle
}

// overhead is IPv4 and UDP headers, which take their share of a line.
const overhead = 28

// pass says when a payload of size bytes is through, or that the queue is full.
func (s *shaper) pass(now time.Time, size int) (time.Time, bool) {
	if s.rate <= 0 {
		return now, true
	}
	begin := s.free
	if begin.Before(now) {
		begin = now
	}
	if begin.Sub(now) > s.queue {
		return time.Time{}, false
	}
	s.free = begin.Add(time.Duration(int64(size+overhead) * 8 * int64(time.Second) / s.rate))
	return s.free, true
}

// flow is what a socket remembers of one address that it writes to.
type flow struct {
	dice *rand.Rand
	last time.Time // when it last wrote there
}
