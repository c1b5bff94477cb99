package console

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/watergy/waterfall/node"
)

// metrics serves the status document's figures to Prometheus.
func (s *Server) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(s.node), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// collector reads the status document at each scrape; unknown values are left out.
type collector struct {
	node Backend

	info, uptime, healthy, dhtTable, dhtConnected                  *prometheus.Desc
	dhtBytes, dhtDropped                                           *prometheus.Desc
	members                                                        *prometheus.Desc
	live, layer, children, slots, subtree, depth, delay, gap, join *prometheus.Desc
	switches, bytes                                                *prometheus.Desc
	packets, bitrate                                               *prometheus.Desc
}

func newCollector(n Backend) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("waterfall_"+name, help, labels, nil)
	}
	stream := func(name, help string, more ...string) *prometheus.Desc {
		return desc(name, help, append([]string{"room", "stream"}, more...)...)
	}
	return &collector{
		node:         n,
		info:         desc("info", "The node: always 1.", "version", "peer"),
		uptime:       desc("uptime_seconds", "Time since the node started."),
		healthy:      desc("healthy", "1 while the node does its job."),
		dhtTable:     desc("dht_table_peers", "Peers in the DHT's routing table."),
		dhtConnected: desc("dht_connected_peers", "Peers connected by libp2p."),
		dhtBytes:     desc("dht_bytes_total", "Bytes of DHT, gossip and identify.", "direction"),
		dhtDropped:   desc("dht_dropped_total", "Records that came too fast, or that nobody took in time."),
		members:      desc("room_members", "Members of the room, as far as known.", "room"),
		live:         stream("stream_live", "1 while media of the stream comes in."),
		layer:        stream("stream_layer", "Layer of this node in the stream's tree; the speaker's is 0."),
		children:     stream("stream_children", "Children that this node feeds."),
		slots:        stream("stream_slots", "Children that this node would feed at most."),
		subtree:      stream("stream_subtree_nodes", "Nodes at and below this one."),
		depth:        stream("stream_depth_below", "Layers below this node."),
		delay:        stream("stream_path_delay_seconds", "Delay from the speaker to this node."),
		gap:          stream("stream_last_gap_seconds", "Longest standstill at the last change of parent."),
		join:         stream("stream_join_seconds", "Time from the start of the process to this step of the join.", "step"),
		switches:     stream("stream_switches_total", "Changes of parent after the first."),
		bytes:        stream("stream_bytes_total", "Bytes by kind of traffic and direction.", "kind", "direction"),
		packets:      stream("track_packets_total", "Packets by what became of them.", "track", "result"),
		bitrate:      stream("track_bitrate_bps", "Bits a second of the track.", "track"),
	}
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	st := c.node.Status()
	m := sink{ch}
	m.gauge(c.info, 1, st.Version, st.PeerID)
	m.gauge(c.uptime, st.UptimeS)
	m.gauge(c.healthy, truth(c.node.Healthy() == nil))
	m.gauge(c.dhtTable, float64(st.DHT.Table))
	m.gauge(c.dhtConnected, float64(st.DHT.Connected))
	m.counter(c.dhtBytes, st.DHT.Bytes.In, "in")
	m.counter(c.dhtBytes, st.DHT.Bytes.Out, "out")
	m.counter(c.dhtDropped, st.DHT.Dropped)
	for _, r := range st.Rooms {
		if r.Members != nil {
			m.gauge(c.members, float64(*r.Members), r.ID)
		}
		for _, s := range r.Streams {
			c.stream(m, r.ID, s)
		}
	}
}

func (c *collector) stream(m sink, room string, s node.StreamStatus) {
	m.gauge(c.live, truth(s.State == "live"), room, s.ID)
	if s.Layer != nil {
		m.gauge(c.layer, float64(*s.Layer), room, s.ID)
	}
	m.gauge(c.children, float64(len(s.Children)), room, s.ID)
	m.gauge(c.slots, float64(s.Slots.Max), room, s.ID)
	m.gauge(c.subtree, float64(s.Subtree), room, s.ID)
	m.gauge(c.depth, float64(s.DepthBelow), room, s.ID)
	m.millis(c.delay, s.PathDelayMS, room, s.ID)
	m.millis(c.gap, s.LastGapMS, room, s.ID)
	m.millis(c.join, s.Join.AnswerMS, room, s.ID, "answer")
	m.millis(c.join, s.Join.ConnectedMS, room, s.ID, "connected")
	m.millis(c.join, s.Join.FirstPacketMS, room, s.ID, "first_packet")
	m.millis(c.join, s.Join.FirstFrameMS, room, s.ID, "first_frame")
	m.counter(c.switches, uint64(s.Switches), room, s.ID)
	for _, t := range []struct {
		kind  string
		bytes node.Traffic
	}{{"control", s.ControlBytes}, {"feedback", s.FeedbackBytes}, {"media", s.MediaBytes}} {
		m.counter(c.bytes, t.bytes.In, room, s.ID, t.kind, "in")
		m.counter(c.bytes, t.bytes.Out, room, s.ID, t.kind, "out")
	}
	for _, t := range s.Tracks {
		for _, p := range []struct {
			result string
			n      uint64
		}{
			{"received", t.Received}, {"lost", t.Lost}, {"repaired", t.Repaired}, {"duplicate", t.Duplicates},
			{"forged", t.Forged}, {"forwarded", t.Forwarded}, {"skipped", t.Skipped},
		} {
			m.counter(c.packets, p.n, room, s.ID, t.ID, p.result)
		}
		m.gauge(c.bitrate, float64(t.BitrateBPS), room, s.ID, t.ID)
	}
}

// sink is where a scrape's values go.
type sink struct{ ch chan<- prometheus.Metric }

func (m sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	m.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (m sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	m.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (m sink) millis(d *prometheus.Desc, v *float64, labels ...string) {
	if v != nil {
		m.gauge(d, *v/1000, labels...)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
