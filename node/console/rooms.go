package console

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"slices"

	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/node/home"
)

// Rooms lets the person at the page make rooms, enter and leave them. Errors that are a
// *Problem are shown as they are.
type Rooms interface {
	// Made lists the names of the rooms made here.
	Made() ([]string, error)
	// Make makes a room, open or with a password, enters it, and returns its ID.
	Make(ctx context.Context, name, password string) (room string, err error)
	// Join enters a room by ticket, ID, or the name of one made here, and returns its ID.
	Join(ctx context.Context, ticket, password string) (room string, err error)
	// Leave leaves a room by its ID.
	Leave(room string) error
}

// Recorder writes streams to files; *node.Node is one.
type Recorder interface {
	Record(room, stream string) error
	StopRecording(room, stream string) error
}

// Recordings are the files that were written; *home.Home has them. What is not there is
// fs.ErrNotExist.
type Recordings interface {
	Recordings() ([]home.Recording, error)
	OpenRecording(name string) (*os.File, error)
	DeleteRecording(name string) error
}

// Consent is the person's answer to whether this node may pass streams on.
type Consent interface {
	Consent() (text string, answer home.Consent, err error)
	SetConsent(home.Consent) error
}

// Problem is an error in words for the person at the page.
type Problem struct {
	Status  int    `json:"-"`    // of HTTP
	Code    string `json:"code"` // for the page: needs-password, refused, bad-ticket, failed
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
}

func (p *Problem) Error() string { return p.Message }

// maxRequest bounds a request's body: a ticket has at most 4 KiB.
const maxRequest = 16 << 10

// route adds a request of the API that may fail.
type route func(pattern string, f func(http.ResponseWriter, *http.Request) error)

// rooms adds what changes which rooms the node is in, and what it records.
func (s *Server) rooms(mux *http.ServeMux, cfg Config) {
	add := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		mux.Handle(pattern, s.withToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				complain(w, err)
			}
		})))
	}
	if cfg.Rooms != nil {
		roomRoutes(add, cfg.Rooms)
	}
	if cfg.Consent != nil {
		consentRoutes(add, cfg.Consent)
	}
	if cfg.Recorder != nil {
		recorderRoutes(add, cfg.Recorder)
	}
	if cfg.Recordings != nil {
		s.recordingRoutes(add, cfg.Recordings)
	}
}

func roomRoutes(add route, rooms Rooms) {
	add("GET /api/v1/rooms", func(w http.ResponseWriter, _ *http.Request) error {
		made, err := rooms.Made()
		if err == nil {
			document(w, map[string]any{"made": append([]string{}, made...)})
		}
		return err
	})
	add("POST /api/v1/rooms", func(w http.ResponseWriter, r *http.Request) error {
		var ask struct{ Name, Password string }
		if err := readAsk(w, r, &ask); err != nil {
			return err
		}
		room, err := rooms.Make(r.Context(), ask.Name, ask.Password)
		return entered(w, room, err)
	})
	add("POST /api/v1/join", func(w http.ResponseWriter, r *http.Request) error {
		var ask struct{ Ticket, Password string }
		if err := readAsk(w, r, &ask); err != nil {
			return err
		}
		room, err := rooms.Join(r.Context(), ask.Ticket, ask.Password)
		return entered(w, room, err)
	})
	add("DELETE /api/v1/rooms/{room}", func(w http.ResponseWriter, r *http.Request) error {
		return done(w, rooms.Leave(r.PathValue("room")))
	})
}

func consentRoutes(add route, consent Consent) {
	add("GET /api/v1/consent", func(w http.ResponseWriter, _ *http.Request) error {
		text, answer, err := consent.Consent()
		if err == nil {
			document(w, map[string]any{"text": text, "answer": answer})
		}
		return err
	})
	add("POST /api/v1/consent", func(w http.ResponseWriter, r *http.Request) error {
		var ask struct{ Answer home.Consent }
		if err := readAsk(w, r, &ask); err != nil {
			return err
		}
		if ask.Answer != home.Agreed && ask.Answer != home.Declined {
			return &Problem{http.StatusBadRequest, "failed", "the answer is yes or no", ""}
		}
		return done(w, consent.SetConsent(ask.Answer))
	})
}

func recorderRoutes(add route, rec Recorder) {
	const path = " /api/v1/rooms/{room}/streams/{stream}/recording"
	add("POST"+path, func(w http.ResponseWriter, r *http.Request) error {
		return done(w, rec.Record(r.PathValue("room"), r.PathValue("stream")))
	})
	add("DELETE"+path, func(w http.ResponseWriter, r *http.Request) error {
		return done(w, rec.StopRecording(r.PathValue("room"), r.PathValue("stream")))
	})
}

func (s *Server) recordingRoutes(add route, files Recordings) {
	add("GET /api/v1/recordings", func(w http.ResponseWriter, _ *http.Request) error {
		list, err := files.Recordings()
		if err == nil {
			document(w, map[string]any{"recordings": list})
		}
		return err
	})
	add("GET /api/v1/recordings/{name}", func(w http.ResponseWriter, r *http.Request) error {
		return download(w, r, files)
	})
	add("DELETE /api/v1/recordings/{name}", func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		if beingWritten(s.node.Status(), name) {
			return &Problem{http.StatusConflict, "failed", "this recording is still being written", "stop it first"}
		}
		return done(w, files.DeleteRecording(name))
	})
}

// readAsk reads a request in JSON. No other site can send that type unasked, in case a
// browser leaves its Origin out.
func readAsk(w http.ResponseWriter, r *http.Request, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &Problem{http.StatusUnsupportedMediaType, "failed", "the request is not JSON", "Content-Type: application/json"}
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(into); err != nil {
		return &Problem{http.StatusBadRequest, "failed", "the request can't be read: " + err.Error(), ""}
	}
	return nil
}

// done answers a request that has been carried out.
func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// entered answers a request that has taken the node into a room.
func entered(w http.ResponseWriter, room string, err error) error {
	if err == nil {
		document(w, map[string]string{"room": room})
	}
	return err
}

// complain tells what went wrong, in JSON.
func complain(w http.ResponseWriter, err error) {
	p := &Problem{Status: http.StatusBadGateway, Code: "failed", Message: err.Error()}
	if !errors.As(err, &p) && errors.Is(err, fs.ErrNotExist) {
		p.Status = http.StatusNotFound
	}
	b, _ := json.Marshal(p) // strings only
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	w.Write(append(b, '\n'))
}

func download(w http.ResponseWriter, r *http.Request, files Recordings) error {
	name := r.PathValue("name")
	f, err := files.OpenRecording(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "video/x-matroska")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	w.Header().Set("Cache-Control", "no-store")
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

// beingWritten says whether a recording of that name goes on.
func beingWritten(st node.Status, name string) bool {
	return slices.ContainsFunc(st.Rooms, func(r node.RoomStatus) bool {
		return slices.ContainsFunc(r.Streams, func(s node.StreamStatus) bool {
			return s.Recording != nil && s.Recording.File == name && s.Recording.Error == nil
		})
	})
}
