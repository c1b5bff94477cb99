package playback

import (
	"fmt"
	"sync/atomic"
)

// maxViewers is how many seats there are unless somebody says otherwise.
const maxViewers = 256

// Seats bounds the programs that a node plays to at once, whichever way they come. It is safe for
// concurrent use.
type Seats struct {
	limit int
	taken atomic.Int32
}

// NewSeats makes Seats; a limit of 0 means 256, a negative one none at all.
func NewSeats(limit int) *Seats {
	switch {
	case limit == 0:
		limit = maxViewers
	case limit < 0:
		limit = 0
	}
	return &Seats{limit: limit}
}

// Take takes a seat; Leave it.
func (s *Seats) Take() error {
	if int(s.taken.Add(1)) > s.limit {
		s.Leave()
		return fmt.Errorf("this node serves its limit of %d viewers (hint: join with a node of your own)", s.limit)
	}
	return nil
}

// Leave gives a seat back.
func (s *Seats) Leave() { s.taken.Add(-1) }
