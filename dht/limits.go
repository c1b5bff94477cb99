package dht

import (
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	conns "github.com/libp2p/go-libp2p/x/rate"
	"golang.org/x/time/rate"
)

const (
	maxMessage = 4 << 10 // of one record by gossip, and of heads and answers in the DHT
	// maxRPC is the longest gossipsub message between two hosts: a volunteer that
	// relays 5,000 topics lists them all to a new peer in one.
	maxRPC = 512 << 10

	// connsPerAddress: libp2p's 8 lock out a classroom behind one NAT.
	connsPerAddress = 256

	// Gossip messages a second that one neighbour may bring: a bootstrap node that we
	// chose brings what all the others say, and a flood through it is to be held back there.
	peerRate, peerBurst     = 200, 400
	bootRate, bootBurst     = 2000, 8000
	writerRate, writerBurst = 10, 40 // records a second of one writer
	maxLimiters             = 8192
)

// memory of a DHT server, in bytes.
const (
	volunteerMemory = 64 << 20
	nodeMemory      = 8 << 20
)

// resourceOptions are the connection limits of a host, unless the caller set its own.
func resourceOptions(volunteer bool) libp2p.Option {
	return func(c *libp2p.Config) error {
		if c.ConnManager == nil {
			// Each connection is kept alive with four packets in 15 s; one more takes as much as
			// nine minutes of that.
			low, high := 32, 64
			if volunteer {
				low, high = 3000, 4000
			}
			m, err := connmgr.NewConnManager(low, high, connmgr.WithGracePeriod(time.Minute))
			if err != nil {
				return err
			}
			c.ConnManager = m
		}
		if c.ResourceManager != nil {
			return nil
		}
		limits := rcmgr.DefaultLimits
		libp2p.SetDefaultServiceLimits(&limits)
		built := limits.AutoScale()
		if volunteer {
			// The defaults scale with the machine's memory: 512 MiB allow about 300 peers.
			built = rcmgr.PartialLimitConfig{
				System: rcmgr.ResourceLimits{
					Conns: 8192, ConnsInbound: 8192, ConnsOutbound: 8192, FD: 8192,
					Streams: 65536, StreamsInbound: 65536, StreamsOutbound: 65536, Memory: 1 << 30,
				},
				Transient: rcmgr.ResourceLimits{
					Conns: 1024, ConnsInbound: 1024, ConnsOutbound: 1024, FD: 1024,
					Streams: 2048, StreamsInbound: 2048, StreamsOutbound: 2048, Memory: 256 << 20,
				},
				ProtocolDefault: rcmgr.ResourceLimits{
					Streams: 32768, StreamsInbound: 32768, StreamsOutbound: 32768, Memory: 512 << 20,
				},
			}.Build(built)
		}
		m, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(built),
			rcmgr.WithMetricsDisabled(), rcmgr.WithConnRateLimiters(connRate()),
			rcmgr.WithLimitPerSubnet(
				[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerAddress}},
				[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerAddress}},
			))
		if err != nil {
			return err
		}
		c.ResourceManager = m
		return nil
	}
}

// connRate lets everybody behind one NAT come at the same moment; libp2p's default is
// 16 connections an address, then one every 5 s. Loopback is not limited.
func connRate() *conns.Limiter {
	limit := conns.Limit{RPS: 20, Burst: connsPerAddress}
	return &conns.Limiter{
		NetworkPrefixLimits: []conns.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
			{Prefix: netip.MustParsePrefix("::1/128")},
		},
		SubnetRateLimiter: conns.SubnetLimiter{
			IPv4SubnetLimits: []conns.SubnetLimit{{PrefixLength: 32, Limit: limit}},
			IPv6SubnetLimits: []conns.SubnetLimit{{PrefixLength: 56, Limit: limit}},
			GracePeriod:      time.Minute,
		},
	}
}

// Scores of gossip's neighbours (gossipsub v1.1 specification, "Peer Scoring"): only what no
// honest host does counts, that is bringing what does not validate, and breaking the
// protocol's promises. The penalty grows with the square: seven bad messages cost a
// neighbour its gossip, fifteen and nothing of it is read for some minutes.
const (
	scoreGossip   = -480
	scorePublish  = -1000
	scoreGraylist = -2240
	scoreHalf     = 5 * time.Minute // until a penalty has all but gone
)

func scores() (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	return &pubsub.PeerScoreParams{
			SkipAtomicValidation:   true,
			AppSpecificScore:       func(peer.ID) float64 { return 0 },
			BehaviourPenaltyWeight: -10, BehaviourPenaltyThreshold: 10, BehaviourPenaltyDecay: pubsub.ScoreParameterDecay(scoreHalf),
			DecayInterval: pubsub.DefaultDecayInterval, DecayToZero: pubsub.DefaultDecayToZero,
			RetainScore: scoreHalf,
			Topics:      map[string]*pubsub.TopicScoreParams{},
		}, &pubsub.PeerScoreThresholds{
			SkipAtomicValidation: true,
			GossipThreshold:      scoreGossip, PublishThreshold: scorePublish, GraylistThreshold: scoreGraylist,
		}
}

func topicScores() *pubsub.TopicScoreParams {
	return &pubsub.TopicScoreParams{
		SkipAtomicValidation: true, TopicWeight: 1, TimeInMeshQuantum: time.Second,
		InvalidMessageDeliveriesWeight: -10, InvalidMessageDeliveriesDecay: pubsub.ScoreParameterDecay(scoreHalf),
	}
}

// limiters bound how much gossip a neighbour or a writer may cause.
type limiters[K comparable] struct {
	limit rate.Limit
	burst int

	mu sync.Mutex
	by map[K]*rate.Limiter
}

func newLimiters[K comparable](perSecond, burst int) *limiters[K] {
	return &limiters[K]{limit: rate.Limit(perSecond), burst: burst, by: map[K]*rate.Limiter{}}
}

func (l *limiters[K]) allow(k K) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lim := l.by[k]
	if lim == nil {
		if len(l.by) >= maxLimiters {
			// Forgetting all gives everyone a fresh burst, once per 8,192 newcomers.
			clear(l.by)
		}
		lim = rate.NewLimiter(l.limit, l.burst)
		l.by[k] = lim
	}
	return lim.Allow()
}
