package node

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/playback"
)

// source is what a player needs of this stream.
func (s *live) source() playback.Source {
	return playback.Source{History: s.hist, Sealer: s.sealer, Delay: s.room.delay}
}

// sorted lists the room's streams by ID.
func (r *room) sorted() []*live {
	list := make([]*live, 0, len(r.streams))
	for _, s := range r.streams {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *live) int { return strings.Compare(a.name(), b.name()) })
	return list
}

// pick finds the stream that a player asks for: by ID, or the first one that is live, or
// will be in a moment.
func (r *room) pick(id string) (playback.Source, error) {
	if id != "" {
		raw, err := hex.DecodeString(id)
		if err != nil || len(raw) != len(stream.ID{}) {
			return playback.Source{}, fmt.Errorf("%q is no stream ID", id)
		}
		if s := r.streams[stream.ID(raw)]; s != nil {
			return s.source(), nil
		}
		return playback.Source{}, fmt.Errorf("no stream %s in this room", id)
	}
	var soon *live
	for _, s := range r.sorted() {
		switch {
		case s.ended:
		case s.haveMedia():
			return s.source(), nil
		case soon == nil:
			soon = s
		}
	}
	if soon != nil {
		return soon.source(), nil
	}
	return playback.Source{}, playback.ErrNotLive
}

// haveMedia says whether anything that can be played has come yet.
func (s *live) haveMedia() bool {
	_, ok := s.hist.Catalog()
	return ok
}

func (r *room) pickHTTP(q *http.Request) (playback.Source, error) {
	return onLoop(r.n, func() (playback.Source, error) { return r.pick(q.URL.Query().Get("stream")) })
}

func (n *Node) pickRTSP(path, query string) (playback.Source, error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return playback.Source{}, fmt.Errorf("bad query: %w", err)
	}
	return onLoop(n, func() (playback.Source, error) {
		r, err := n.findRoom(path)
		if err != nil {
			return playback.Source{}, err
		}
		return r.pick(q.Get("stream"))
	})
}

// targetRTSP finds the room that an RTSP client may publish into.
func (n *Node) targetRTSP(path string) (ingest.Target, error) {
	return onLoop(n, func() (ingest.Target, error) {
		r, err := n.findRoom(path)
		switch {
		case err != nil:
			return nil, err
		case r.speaking != "rtsp":
			return nil, errors.New("this node takes no RTSP input (hint: wfnode speak --input rtsp)")
		}
		return r.target(), nil
	})
}
