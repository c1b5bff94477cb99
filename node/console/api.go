package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// feedPause keeps a feed to four documents a second (INTERFACE); feedQuiet is how long
// a feed with no change stays silent before a comment shows that it lives.
const (
	feedPause = 250 * time.Millisecond
	feedQuiet = 15 * time.Second
)

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	b, err := json.MarshalIndent(s.node.Status(), "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(b, '\n'))
}

// events sends the status document whenever it has changed, as server-sent events.
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
	out := http.NewResponseController(w)
	ticker := time.NewTicker(feedPause)
	defer ticker.Stop()
	var last []byte
	wrote := time.Now()
	for {
		doc, same := s.document()
		var err error
		switch {
		case !bytes.Equal(same, last):
			last, wrote = same, time.Now()
			_, err = fmt.Fprintf(w, "event: status\ndata: %s\n\n", doc)
		case time.Since(wrote) > feedQuiet:
			wrote = time.Now()
			_, err = fmt.Fprint(w, ":\n\n")
		}
		if err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// document is the status document in one line, and what of it makes a change: all but
// the time that has passed.
func (s *Server) document() (doc, same []byte) {
	st := s.node.Status()
	doc, err := json.Marshal(st)
	if err != nil { // a NaN that slipped in; the next document may be sound again
		s.log.Error("status document", "err", err)
		return nil, nil
	}
	st.UptimeS = 0
	same, _ = json.Marshal(st)
	return doc, same
}
