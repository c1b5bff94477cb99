package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/watergy/waterfall/tree"
)

// lastWords is how long the end of a stream of our own is given to reach the children.
const lastWords = 200 * time.Millisecond

// leaveTime bounds a polite leave (INTERFACE: SIGTERM to exit within 3 s).
const leaveTime = 2800 * time.Millisecond

// ErrLeft is what Join and Speak return after Leave.
var ErrLeft = errors.New("this node has left the room")

// Leave leaves a room (its ID, or "current") politely: children are moved first, for at
// most 3 s. The node goes on in its other rooms.
func (n *Node) Leave(name string) error {
	r, err := onLoop(n, func() (*room, error) {
		r, err := n.findRoom(name)
		if err == nil && r.leaving {
			err = fmt.Errorf("this node is leaving room %s already", r.room.ID)
		}
		if err == nil {
			r.leaving = true
		}
		return r, err
	})
	if err != nil {
		return err
	}
	n.part(func(s *live) bool { return s.room == r })
	out := n.do(func() {
		for _, s := range r.sorted() {
			r.drop(s)
		}
		delete(n.rooms, r.room.ID)
	})
	if !out {
		return ErrClosed // Close ends the room
	}
	r.gone(ErrLeft)
	r.close()
	return nil
}

// part asks the trees of the streams that mine names to let go of this node, and waits
// until all have.
func (n *Node) part(mine func(*live) bool) {
	left := make(chan struct{}, 1)
	n.sayLastWords(mine)
	n.do(func() {
		waiting := 0
		for _, s := range n.streams {
			if !mine(s) {
				continue
			}
			waiting++
			s.onLeft = func() {
				if waiting--; waiting == 0 {
					left <- struct{}{}
				}
			}
		}
		if waiting == 0 {
			left <- struct{}{}
		}
		for _, s := range n.streams {
			if mine(s) {
				s.step(tree.Leave{})
			}
		}
	})
	t := time.NewTimer(leaveTime)
	defer t.Stop()
	select {
	case <-left:
	case <-t.C:
	case <-n.done:
	}
}

// sayLastWords ends what this node publishes and lets the word go out.
func (n *Node) sayLastWords(mine func(*live) bool) {
	spoke := false
	n.do(func() {
		for _, s := range n.streams {
			if mine(s) && s.root() {
				s.finish("the speaker leaves")
				spoke = true
			}
		}
	})
	if !spoke {
		return
	}
	select {
	case <-time.After(lastWords):
	case <-n.done:
	}
}
