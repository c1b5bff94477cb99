package vnettest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watergy/waterfall/internal/vnet"
)

// meter is what every listener that is here has sent and heard so far.
func (s *sim) meter() map[*member]bytesOf {
	all := map[*member]bytesOf{}
	for _, m := range s.listeners {
		all[m] = m.meter()
	}
	all[s.speaker], all[s.volunteer] = s.speaker.meter(), s.volunteer.meter()
	return all
}

// joinCost reports what those who came while before was noted have sent and heard by libp2p
// since their start.
func (s *sim) joinCost(before map[*member]bytesOf) {
	var sizes, handshakes, ages []float64
	for _, m := range s.listeners {
		age := time.Since(m.probe.started).Seconds()
		if _, early := before[m]; early || age < 5 {
			continue
		}
		b := m.meter()
		sizes = append(sizes, float64(b.libp2p)/1000)
		handshakes = append(handshakes, float64(b.handshakes)/1000)
		ages = append(ages, age)
	}
	if len(sizes) > 0 {
		s.report.say("churn: libp2p of newcomers, in + out", fmt.Sprintf("%.0f kB mean, of that handshakes %.0f kB, after %.0f s", mean(sizes), mean(handshakes), mean(ages)))
	}
}

// bytesOf are bytes both ways by purpose, at some time.
type bytesOf struct {
	at                time.Time
	libp2p            uint64 // with UDP's and IP's headers
	control, feedback uint64 // on links
	media             uint64
	libp2pPackets     uint64
	handshakes        uint64 // of libp2p: what opening connections takes
	protocols         map[protocol.ID]vnet.Traffic
	gossip, requests  map[string]int // see meter
}

func (m *member) meter() bytesOf {
	p2p, _ := m.host.Traffic(vnet.LibP2PPort)
	b := bytesOf{
		at: time.Now(), libp2p: p2p.In + p2p.Out, libp2pPackets: p2p.PacketsIn + p2p.PacketsOut,
		handshakes: p2p.Handshakes, protocols: m.host.Protocols(),
	}
	b.gossip, b.requests = m.causes.read()
	if st, ok := m.stream(); ok {
		b.control = st.ControlBytes.In + st.ControlBytes.Out
		b.feedback = st.FeedbackBytes.In + st.FeedbackBytes.Out
		b.media = st.MediaBytes.In + st.MediaBytes.Out
	}
	return b
}

// traffic reports what those who were here all the time have sent and heard.
func (s *sim) traffic(when string, before map[*member]bytesOf) {
	var p2p, control, feedback []float64
	for _, m := range s.listeners {
		was, ok := before[m]
		if !ok {
			continue
		}
		d := m.meter().since(was)
		p2p = append(p2p, d.libp2p)
		control = append(control, d.libp2p+d.control)
		feedback = append(feedback, d.feedback/max(d.media, 1))
	}
	s.report.rates(when+": control a listener, in + out", control, 25)
	s.report.rates(when+":   of that libp2p", p2p, 0)
	s.byProtocol(when, before, s.listeners...)
	for _, x := range []struct {
		name string
		m    *member
	}{{"speaker", s.speaker}, {"volunteer", s.volunteer}} {
		d := x.m.meter().since(before[x.m])
		s.report.say(when+": control of the "+x.name, fmt.Sprintf("%.1f kbit/s, of that libp2p %.1f", d.libp2p+d.control, d.libp2p))
		s.byProtocol(when, before, x.m)
	}
	f := mean(feedback)
	s.report.add(line{
		name: when + ": feedback, share of media on links", got: fmt.Sprintf("%.2f %%", 100*f),
		want: "≤ 2 %", wrong: f > 0.02,
	})
}

// byProtocol reports what libp2p's share is made of, in means of those of who that were here all
// the time: payload in streams by protocol, gossip's by what it is for, requests of the DHT that
// came, and packets, which carry 28 bytes of IP and UDP and some 30 of QUIC each.
func (s *sim) byProtocol(when string, before map[*member]bytesOf, who ...*member) {
	streams, gossip, requests := map[string]float64{}, map[string]float64{}, map[string]float64{}
	var packets, handshakes, peers, n float64
	for _, m := range who {
		was, ok := before[m]
		if !ok {
			continue
		}
		now := m.meter()
		sec := now.at.Sub(was.at).Seconds()
		for p, t := range now.protocols {
			u := was.protocols[p]
			streams[cmp.Or(string(p), "(opening)")] += float64(t.In+t.Out-u.In-u.Out) * 8 / 1000 / sec
		}
		for k, v := range now.gossip {
			gossip[k] += float64(v-was.gossip[k]) * 8 / 1000 / sec
		}
		for k, v := range now.requests {
			requests[k] += float64(v-was.requests[k]) / sec
		}
		packets += float64(now.libp2pPackets-was.libp2pPackets) / sec
		handshakes += float64(now.handshakes-was.handshakes) * 8 / 1000 / sec
		peers += float64(m.Host().Stats().Connected)
		n++
	}
	s.report.say(when+":   packets", fmt.Sprintf("%.1f/s with %.1f peers connected, of that handshakes %.1f kbit/s", packets/n, peers/n, handshakes/n))
	s.report.say(when+":   in streams, kbit/s", means(streams, n))
	s.report.say(when+":   of gossip, kbit/s", means(gossip, n))
	s.report.say(when+":   DHT requests served, 1/s", means(requests, n))
}

// means lists sums divided by n, without those that are next to nothing.
func means(sums map[string]float64, n float64) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(sums)) {
		if v := sums[k] / n; v >= 0.05 {
			list = append(list, fmt.Sprintf("%s %.1f", k, v))
		}
	}
	return strings.Join(list, ", ")
}

// perSecond are rates in kbit/s.
type perSecond struct{ libp2p, control, feedback, media float64 }

func (b bytesOf) since(was bytesOf) perSecond {
	kbit := func(now, then uint64) float64 {
		return (float64(now) - float64(then)) * 8 / 1000 / b.at.Sub(was.at).Seconds()
	}
	return perSecond{
		libp2p: kbit(b.libp2p, was.libp2p), control: kbit(b.control, was.control),
		feedback: kbit(b.feedback, was.feedback), media: kbit(b.media, was.media),
	}
}
