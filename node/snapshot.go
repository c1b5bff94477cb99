package node

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/link"
	"github.com/watergy/waterfall/tree"
)

// Status is the status document as of now.
func (n *Node) Status() Status {
	st := Status{
		Version: n.cfg.Version, PeerID: n.ID().String(), UptimeS: time.Since(n.start).Seconds(),
		Addresses: []string{}, Rooms: []RoomStatus{},
	}
	for _, a := range n.Addrs() {
		st.Addresses = append(st.Addresses, a.String())
	}
	h := n.host.Stats()
	st.DHT = DHTStatus{Mode: h.Mode, Table: h.Table, Connected: h.Connected, Bytes: Traffic{In: h.BytesIn, Out: h.BytesOut}, Dropped: h.Dropped}
	st.NAT = link.UnknownNAT.String()
	n.do(func() {
		st.NAT, st.OpenPorts = n.nat.String(), n.opened
		for _, r := range n.rooms {
			st.Rooms = append(st.Rooms, r.status())
		}
	})
	return st
}

func (r *room) status() RoomStatus {
	st := RoomStatus{
		ID: r.room.ID.String(), Name: r.room.Name, Admission: string(r.room.Admission), Epoch: int(r.room.Epoch),
		Ticket: r.n.Ticket(r.room, r.hints...).String(), MaySpeak: r.room.MaySpeak(r.n.ID()), Streams: []StreamStatus{},
	}
	if input := r.speaking; input != "" {
		st.Input = &input
	}
	members := 0
	for _, s := range r.sorted() {
		st.Streams = append(st.Streams, s.status())
		sum := 0
		for _, k := range s.tree.View().Head.Layers {
			sum += int(k)
		}
		members = max(members, sum)
	}
	if members > 0 {
		st.Members = &members
	}
	return st
}

// progressing is how recent the newest packet must be for a stream to be live.
const progressing = 2 * time.Second

func (s *live) status() StreamStatus {
	v, now := s.tree.View(), time.Now()
	st := StreamStatus{
		ID: s.name(), Speaker: s.speaker.String(), State: s.state(v, now), Role: s.role(v),
		Path: []string{}, Children: []ChildStatus{},
		Slots:  SlotStatus{Used: len(v.Children), Max: max(0, v.Slots)},
		Layers: layersOf(v), Subtree: v.Subtree, DepthBelow: v.Below, Switches: v.Switches,
		LastGapMS: millis(s.gap.last), Recording: s.recording.status(),
		Join: JoinStatus{
			AnswerMS: millis(s.join.answer), ConnectedMS: millis(s.join.connected),
			FirstPacketMS: millis(s.join.packet), FirstFrameMS: millis(s.join.frame),
		},
	}
	st.Tracks = s.tracks(s.traffic(&st))
	if v.Root || v.Attached {
		st.Layer = &v.Layer
	}
	for _, id := range v.Path {
		st.Path = append(st.Path, peer.ID(id).String())
	}
	if v.PathDelay != nil {
		ms := float64(v.PathDelay.Microseconds()) / 1000
		st.PathDelayMS = &ms
	}
	if why := s.verdict(v); why != "" {
		st.Verdict = &why
	}
	st.Parent, st.Backup = named(v.Parent), named(v.Backup)
	if s.join.signal != "" {
		via := string(s.join.signal)
		st.Join.Signal = &via
	}
	for _, c := range v.Children {
		cs := ChildStatus{Peer: peer.ID(c.Node).String(), Subtree: c.Subtree, Layer: v.Layer + 1}
		if l := s.room.n.linkTo(c.Node); l != nil {
			cs.RTTMS = millis(l.Stats().RTT)
		}
		st.Children = append(st.Children, cs)
	}
	return st
}

// traffic fills in the byte counts and says how many packets of each track went to
// children. What libp2p says is counted for the whole node.
func (s *live) traffic(st *StreamStatus) map[stream.Track]uint64 {
	h := s.room.n.host.Stats()
	sum := s.past.clone()
	s.eachLink(func(l *link.Link) { sum.add(l, s.id) })
	st.ControlBytes = Traffic{In: h.BytesIn + sum.control.In, Out: h.BytesOut + sum.control.Out}
	st.FeedbackBytes, st.MediaBytes = sum.feedback, sum.media
	return sum.forwarded
}

// linkTotals are the figures of a stream's links, those that are gone included.
type linkTotals struct {
	control, feedback, media Traffic
	forwarded                map[stream.Track]uint64
	skipped                  uint64
}

func (t *linkTotals) clone() linkTotals {
	c := *t
	c.forwarded = maps.Clone(t.forwarded)
	return c
}

func (t *linkTotals) add(l *link.Link, id stream.ID) {
	ls, ss := l.Stats(), l.StreamStats(id)
	t.control.In += ls.ControlIn
	t.control.Out += ls.ControlOut
	t.feedback.In += ls.FeedbackIn
	t.feedback.Out += ls.FeedbackOut
	t.media.In += ss.MediaIn
	t.media.Out += ss.MediaOut
	t.skipped += ss.Skipped
	if t.forwarded == nil {
		t.forwarded = map[stream.Track]uint64{}
	}
	for k, v := range ss.Forwarded {
		t.forwarded[k] += v
	}
}

func (s *live) eachLink(f func(l *link.Link)) {
	for _, p := range s.room.n.peers {
		if p.users[s] {
			f(p.link)
		}
	}
}

func (s *live) state(v tree.View, now time.Time) string {
	switch {
	case s.ended:
		return "ended"
	case s.haveMedia() && now.Sub(s.media.progress(s.hist, now)) < progressing && (v.Root || v.Attached):
		return "live"
	}
	return "waiting"
}

func (s *live) role(v tree.View) string {
	switch {
	case v.Root:
		return "speaker"
	case len(v.Children) > 0:
		return "relay"
	}
	return "listener"
}

// tracks lists what the catalog names, with what has passed of it.
func (s *live) tracks(forwarded map[stream.Track]uint64) []TrackStatus {
	list := []TrackStatus{}
	stats := map[stream.Track]stream.TrackStats{}
	for _, t := range s.hist.Stats() {
		stats[t.Track] = t
	}
	for _, info := range s.catalog.Tracks {
		t, id := stats[info.Track], info.Kind
		if len(list) == 0 { // manifests are everybody's: they count with the first
			t.Forged += stats[stream.ManifestTrack].Forged
		}
		if slices.ContainsFunc(list, func(t TrackStatus) bool { return t.ID == id }) {
			id = fmt.Sprint(info.Kind, info.Track)
		}
		list = append(list, TrackStatus{
			ID: id, Kind: info.Kind, Codec: info.Codec, Next: t.Next, Received: t.Received, Lost: t.Lost,
			Repaired: t.Repaired, Duplicates: t.Duplicates, Forged: t.Forged, BitrateBPS: t.BitrateBPS,
			Forwarded: forwarded[info.Track],
		})
	}
	return list
}

func named(id tree.NodeID) *string {
	if id == "" {
		return nil
	}
	s := peer.ID(id).String()
	return &s
}
