package node

// Status is the status document (GET /api/v1/status): a contract with people's
// scripts. Unknown values are null, never a made-up zero, hence the pointers.
type Status struct {
	Version   string       `json:"version"`
	PeerID    string       `json:"peer_id"`
	UptimeS   float64      `json:"uptime_s"`
	Addresses []string     `json:"addresses"`
	NAT       string       `json:"nat"`        // none, cone, symmetric, or unknown
	OpenPorts *int         `json:"open_ports"` // media ports that the router has opened for us; null: none was found
	DHT       DHTStatus    `json:"dht"`
	Rooms     []RoomStatus `json:"rooms"`
}

// DHTStatus is the node's place in the DHT.
type DHTStatus struct {
	Mode      string  `json:"mode"`
	Table     int     `json:"table"`
	Connected int     `json:"connected"`
	Bytes     Traffic `json:"bytes"`   // of libp2p: DHT, gossip, identify
	Dropped   uint64  `json:"dropped"` // records that came too fast, or that nobody took in time
}

// RoomStatus is one room that the node takes part in.
type RoomStatus struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Admission string         `json:"admission"`
	Epoch     int            `json:"epoch"`
	Members   *int           `json:"members"`
	Ticket    string         `json:"ticket"`
	MaySpeak  bool           `json:"may_speak"` // this node
	Input     *string        `json:"input"`     // what this node publishes from: test, whip, rtsp, …
	Streams   []StreamStatus `json:"streams"`   // sorted by id
}

// StreamStatus is one stream of a room as this node sees it.
type StreamStatus struct {
	ID            string           `json:"id"`
	Speaker       string           `json:"speaker"`
	State         string           `json:"state"`   // live, waiting, ended
	Role          string           `json:"role"`    // speaker, listener (leaf), relay (has children)
	Verdict       *string          `json:"verdict"` // what keeps people out, or that a clock is wrong, in words; null: nothing
	Layer         *int             `json:"layer"`
	Layers        []int            `json:"layers"` // nodes by layer in the whole tree, the speaker's first
	Path          []string         `json:"path"`
	Parent        *string          `json:"parent"`
	Backup        *string          `json:"backup"`
	Children      []ChildStatus    `json:"children"`
	Slots         SlotStatus       `json:"slots"`
	Subtree       int              `json:"subtree"`
	DepthBelow    int              `json:"depth_below"`
	PathDelayMS   *float64         `json:"path_delay_ms"`
	Join          JoinStatus       `json:"join"`
	Switches      int              `json:"switches"`
	LastGapMS     *float64         `json:"last_gap_ms"`
	ControlBytes  Traffic          `json:"control_bytes"`
	FeedbackBytes Traffic          `json:"feedback_bytes"`
	MediaBytes    Traffic          `json:"media_bytes"`
	Tracks        []TrackStatus    `json:"tracks"`
	Recording     *RecordingStatus `json:"recording"` // of this node; null: none
}

// RecordingStatus is a stream's recording by this node.
type RecordingStatus struct {
	File  string  `json:"file"`  // its name, without the folder
	Error *string `json:"error"` // why it has stopped; null: it goes on
}

// ChildStatus is a child of ours in a stream's tree.
type ChildStatus struct {
	Peer    string   `json:"peer"`
	RTTMS   *float64 `json:"rtt_ms"`
	Subtree int      `json:"subtree"`
	Layer   int      `json:"layer"`
}

// SlotStatus counts room for children.
type SlotStatus struct {
	Used int `json:"used"`
	Max  int `json:"max"`
}

// JoinStatus times this node's way in, in ms since the process started.
type JoinStatus struct {
	Signal        *string  `json:"signal"`
	AnswerMS      *float64 `json:"answer_ms"`
	ConnectedMS   *float64 `json:"connected_ms"`
	FirstPacketMS *float64 `json:"first_packet_ms"`
	FirstFrameMS  *float64 `json:"first_frame_ms"`
}

// Traffic is bytes in and out.
type Traffic struct {
	In  uint64 `json:"in"`
	Out uint64 `json:"out"`
}

// TrackStatus counts one track's packets.
type TrackStatus struct {
	ID         string `json:"id"`
	Kind       string `json:"kind"`
	Codec      string `json:"codec"`
	Next       uint64 `json:"next"`
	Received   uint64 `json:"received"`
	Lost       uint64 `json:"lost"`
	Repaired   uint64 `json:"repaired"`
	Duplicates uint64 `json:"duplicates"`
	Forged     uint64 `json:"forged"`
	Forwarded  uint64 `json:"forwarded"`
	Skipped    uint64 `json:"skipped"`
	BitrateBPS uint64 `json:"bitrate_bps"`
}
