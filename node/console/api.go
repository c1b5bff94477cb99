package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/watergy/waterfall/node"
)

// feedPause keeps a feed to four documents a second (INTERFACE); feedQuiet is how long
// a feed with no change stays silent before a comment shows that it lives.
const (
	feedPause = 250 * time.Millisecond
	feedQuiet = 15 * time.Second
)

func (s *Server) status(w http.ResponseWriter, _ *http.Request) { document(w, s.node.Status()) }

// tree serves the trees of the node's streams as far as they are known here. Reading it
// makes the node ask those below it for a few seconds (docs/protocol-chart.md).
func (s *Server) tree(w http.ResponseWriter, _ *http.Request) {
	document(w, map[string]any{"streams": s.node.Charts()})
}

func document(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(b, '\n'))
}

// events sends the status document whenever it has changed, as server-sent events; with
// ?tree=1 the trees too.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.feeds <- struct{}{}:
		defer func() { <-s.feeds }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many event feeds are open (hint: close another page of this console)", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	feeds := []topic{{name: "status", read: s.statusEvent}}
	if r.URL.Query().Get("tree") == "1" {
		feeds = append(feeds, topic{name: "tree", read: s.treeEvent})
	}
	out := http.NewResponseController(w)
	ticker := time.NewTicker(feedPause)
	defer ticker.Stop()
	wrote := time.Now()
	for {
		var news []byte
		for i := range feeds {
			news = append(news, feeds[i].next()...)
		}
		if len(news) == 0 && time.Since(wrote) > feedQuiet {
			news = []byte(":\n\n")
		}
		if len(news) > 0 {
			wrote = time.Now()
			if _, err := w.Write(news); err != nil || out.Flush() != nil {
				return
			}
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// topic is one kind of event of an event stream.
type topic struct {
	name string
	read func() (doc, same any) // same is what of doc makes a change
	last []byte
}

// next is the event to send, nil if nothing has changed.
func (f *topic) next() []byte {
	v, key := f.read()
	same, err := json.Marshal(key)
	if err != nil || bytes.Equal(same, f.last) { // a NaN that slipped in; the next document may be sound again
		return nil
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	f.last = same
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", f.name, doc)
}

// statusEvent is the status document; the time that has passed makes no change.
func (s *Server) statusEvent() (doc, same any) {
	st := s.node.Status()
	still := st
	still.UptimeS = 0
	still.DHT.Bytes = node.Traffic{} // they never rest
	return st, still
}

func (s *Server) treeEvent() (doc, same any) {
	charts := s.node.Charts()
	return charts, charts
}
