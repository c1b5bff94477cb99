package treesim

import "time"

// Config describes a run. Node 0 is the speaker.
type Config struct {
	Nodes  int           // with the speaker
	Slots  int           // of each node; 0 means tree.DefaultSlots
	Seed   uint64        // of everything that is random
	Spread time.Duration // joiners come evenly over this time …
	Crowd  float64       // … but this share of them comes half-way, …
	Within time.Duration // … evenly over this time; 0: at once
	Kill   float64       // share of the nodes with children that die at once …
	KillAt time.Duration // … at this time
	Layer  int           // not 0: of the nodes of this layer only, at least one
	Polite bool          // they leave instead of dying
	Mix    Mix           // of the slots
	Stay   time.Duration // not 0: nodes go after this time on average, and others come in their place
	Dying  float64       // share of these that die instead of leaving
	Cut    float64       // share of the nodes that a partition parts from the speaker …
	CutAt  time.Duration // … from this time on …
	CutFor time.Duration // … for so long
	Strong time.Duration // not 0: one more, with 16 slots, comes at this time
	Liars  float64       // share of the nodes that take children and deliver nothing
	Until  time.Duration // length of the run; 0 means 30 s after the last arrival or kill
	Wire   bool          // every control message goes through Marshal and Unmarshal
}

// Result is what a run showed.
type Result struct {
	Alive    int // nodes at the end, the speaker included
	Attached int // of these, with media coming all the way from the speaker
	Layers   []int
	Loops    int   // times that a node took the stream from below itself: must be 0
	Over     int   // times that a node had to serve more than three times its slots: must be 0
	Crowded  int   // nodes with more children than slots at the end
	Backed   int   // nodes with a backup at the end
	Delay    Times // of the stream to each node at the end, as the nodes reckon

	StrongIn time.Duration // from the strong one's coming until it stood in layer 1; 0: it never did
	Before   time.Duration // mean of Delay when it came

	Join    Times // arrival to media
	Flash   Times // of these, the crowd's
	LastIn  time.Duration
	Orphans Times         // media lost with the parent until it came again
	Below   Times         // the same for those further below
	Watched time.Duration // by all nodes together
	Late    time.Duration // of it, what did not come within playout of its time
	Lacking int           // nodes that wait for media at the end

	Messages uint64 // over control channels
	Bytes    uint64 // of these messages
	Offers   uint64 // sent by signalling
	Asks     uint64 // of these, those of newcomers until they had the stream
	Refused  uint64 // of these, those that were answered with no
	Heads    uint64
	Switches int
	AtRoot   uint64 // offers that came to the speaker within 5 s of a kill, by signalling or along the tree
	Strays   int    // nodes that moved within 5 s of a kill though their parent lived
	Events   uint64
	Hash     uint64 // of the whole run: same Config, same hash
}

// Depth is the deepest layer with a node in it.
func (r Result) Depth() int { return len(r.Layers) - 1 }

// Times are how long something took, sorted.
type Times []time.Duration

// Quantile is the time within which share q was done.
func (t Times) Quantile(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	return t[min(int(q*float64(len(t))), len(t)-1)]
}

// Mean is the average.
func (t Times) Mean() time.Duration {
	sum := time.Duration(0)
	for _, d := range t {
		sum += d
	}
	return sum / time.Duration(max(len(t), 1))
}
