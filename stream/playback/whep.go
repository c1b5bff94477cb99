package playback

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/avc"
	"github.com/watergy/waterfall/stream/internal/codec"
	"github.com/watergy/waterfall/stream/internal/wish"
)

// WHEPConfig for NewWHEP.
type WHEPConfig struct {
	Net   transport.Net // nil: the system's network
	Log   *slog.Logger
	Seats *Seats // nil: 256 of its own
	// OnFirstFrame, if set, is called for each viewer when its first video frame (first
	// packet of a stream without video) has been sent to it.
	OnFirstFrame func(stream.ID)
}

// WHEP serves the WHEP draft: POST at the path it is mounted at, PATCH and DELETE below.
type WHEP struct {
	pick     func(r *http.Request) (Source, error)
	cfg      WHEPConfig
	endpoint *wish.Endpoint

	wg     sync.WaitGroup // of stages
	mu     sync.Mutex     // guards stages
	stages map[stageKey]*stage
}

// NewWHEP serves at the path base. pick finds the stream that a request asks for; its
// errors are answered with 404, ErrNotLive with 409 and Retry-After.
func NewWHEP(base string, pick func(r *http.Request) (Source, error), cfg WHEPConfig) (*WHEP, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Seats == nil {
		cfg.Seats = NewSeats(0)
	}
	w := &WHEP{pick: pick, cfg: cfg, stages: map[stageKey]*stage{}}
	w.endpoint = &wish.Endpoint{Base: strings.TrimSuffix(base, "/"), Log: cfg.Log, Open: w.open}
	return w, nil
}

func (w *WHEP) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.endpoint.ServeHTTP(rw, r) }

// Close ends every viewer and waits for them.
func (w *WHEP) Close() error {
	err := w.endpoint.Close()
	w.wg.Wait()
	return err
}

func (w *WHEP) open(r *http.Request, offer *wish.Offer) (wish.Session, string, error) {
	if err := w.cfg.Seats.Take(); err != nil {
		return nil, "", &wish.Error{Status: http.StatusServiceUnavailable, Retry: RetryAfter, Err: err}
	}
	v, answer, err := w.answer(r, offer)
	if err != nil {
		w.cfg.Seats.Leave()
		return nil, "", err
	}
	return v, answer, nil
}

func (w *WHEP) answer(r *http.Request, offer *wish.Offer) (*viewer, string, error) {
	src, catalog, err := w.source(r)
	if errors.Is(err, ErrNotLive) {
		return nil, "", &wish.Error{Status: http.StatusConflict, Retry: RetryAfter, Err: err}
	}
	if err != nil {
		return nil, "", &wish.Error{Status: http.StatusNotFound, Err: err}
	}
	tracks, codecs, err := match(catalog, offer)
	if err != nil {
		return nil, "", &wish.Error{Status: http.StatusNotAcceptable, Err: err}
	}
	peer, err := wish.NewPeer(wish.PeerConfig{Net: w.cfg.Net, Codecs: codecs})
	if err != nil {
		return nil, "", err
	}
	v := newViewer(w, peer, src)
	answer, err := v.answer(r.Context(), offer, tracks, codecs)
	if err != nil {
		return nil, "", errors.Join(err, peer.Close())
	}
	v.start()
	return v, answer, nil
}

// source picks the stream and waits a little for its catalog.
func (w *WHEP) source(r *http.Request) (Source, stream.Catalog, error) {
	src, err := w.pick(r)
	if err != nil {
		return src, stream.Catalog{}, err
	}
	c, err := src.Catalog(r.Context())
	return src, c, err
}

// Catalog is the source's catalog, ErrNotLive when none has come within StartWait, or
// when the stream is over.
func (s Source) Catalog(ctx context.Context) (stream.Catalog, error) {
	ctx, cancel := context.WithTimeout(ctx, StartWait)
	defer cancel()
	p := s.Player()
	defer p.Close()
	c, err := p.Catalog(ctx)
	if err != nil || c.Ended {
		return c, ErrNotLive
	}
	return c, nil
}

// match finds for each track that the browser asks for a format of its offer.
func match(c stream.Catalog, offer *wish.Offer) ([]stream.TrackInfo, []webrtc.RTPCodecParameters, error) {
	var tracks []stream.TrackInfo
	var codecs []webrtc.RTPCodecParameters
	for _, t := range c.Tracks {
		if offer.Count(t.Kind) == 0 {
			continue // the viewer does not want it
		}
		f, ok := format(t, offer)
		if !ok {
			return nil, nil, errors.New("the stream's " + t.Kind + " is " + t.Codec + ", which is not in the offer (hint: use a browser that plays it)")
		}
		tracks, codecs = append(tracks, t), append(codecs, f)
	}
	if len(tracks) == 0 {
		return nil, nil, errors.New("the offer asks for nothing that this stream has (hint: offer to receive video and audio)")
	}
	return tracks, codecs, nil
}

// format finds what the browser calls a track's codec.
func format(t stream.TrackInfo, offer *wish.Offer) (webrtc.RTPCodecParameters, bool) {
	switch strings.ToUpper(t.Codec) {
	case codec.H264:
		return offer.H264(profiles(t.Fmtp)...)
	case codec.VP8:
		return offer.Find(webrtc.MimeTypeVP8, "", "")
	case codec.VP9:
		return offer.Find(webrtc.MimeTypeVP9, "profile-id", max(avc.Param(t.Fmtp, "profile-id"), "0"))
	case codec.AV1:
		return offer.Find(webrtc.MimeTypeAV1, "profile", max(avc.Param(t.Fmtp, "profile"), "0"))
	case "OPUS":
		return offer.Opus()
	}
	return webrtc.RTPCodecParameters{}, false
}

// profiles lists the formats that a decoder for the stream may be called, best first. A
// decoder of a higher profile plays the lower ones.
func profiles(fmtp string) []string {
	switch id := strings.ToLower(avc.Param(fmtp, "profile-level-id")); {
	case strings.HasPrefix(id, "64"):
		return []string{"6400", "64", "4d", "42e0", "42"}
	case strings.HasPrefix(id, "4d"):
		return []string{"4d00", "4d", "64", "42e0", "42"}
	default:
		return []string{"42e0", "42c0", "42", "4d", "64"}
	}
}
