package linkbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/link"
)

// Relay is the relay process: it answers what comes on r until that ends.
func Relay(ctx context.Context, r io.Reader, w io.Writer) (err error) {
	engine, err := link.NewEngine(link.Config{Loopback: true})
	if err != nil {
		return err
	}
	p := &relayEnd{engine: engine}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range engine.Events() {
		}
	}()
	defer func() {
		err = errors.Join(err, engine.Close())
		<-done
	}()
	dec, enc := json.NewDecoder(r), json.NewEncoder(w)
	for {
		var q request
		if err := dec.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read the load's request: %w", err)
		}
		out, err := p.do(ctx, q)
		if err != nil {
			out.Err = err.Error()
		}
		if err := enc.Encode(out); err != nil {
			return err
		}
	}
}

type relayEnd struct {
	engine *link.Engine
	h      *stream.History
	links  []*link.Link
	offer  *link.Link // not accepted yet
}

func (p *relayEnd) do(ctx context.Context, q request) (r reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if q.Stream != nil && p.h == nil {
		if len(q.Stream) != len(stream.ID{}) {
			return r, errors.New("no stream ID")
		}
		p.h = stream.NewHistory(stream.ID(q.Stream), stream.HistoryConfig{Key: q.Key})
	}
	switch q.Op {
	case "heap":
		runtime.GC()
		r.Usage = p.usage()
	case "usage":
		r.Usage = p.usage()
	case "times":
		r.Times = p.times(q.From, q.Count)
	case "offer":
		var own link.Description
		if p.offer, own, err = p.engine.Offer(ctx); err == nil {
			r.Link = own.Append(nil)
		}
	case "accept":
		d, _, err := link.ParseDescription(q.Link)
		if err != nil || p.offer == nil {
			return r, errors.Join(errors.New("nothing to accept"), err)
		}
		p.offer.Take(p.h)
		return r, p.offer.Accept("up", d)
	default:
		r.Link, err = p.answer(ctx, q)
	}
	return r, err
}

// answer makes a link to take from or to serve.
func (p *relayEnd) answer(ctx context.Context, q request) ([]byte, error) {
	d, _, err := link.ParseDescription(q.Link)
	if err != nil {
		return nil, err
	}
	l, own, err := p.engine.Answer(ctx, fmt.Sprint(len(p.links)), d)
	if err != nil {
		return nil, err
	}
	if q.Op == "take" {
		l.Take(p.h)
	} else {
		l.Serve(p.h)
	}
	p.links = append(p.links, l)
	return own.Append(nil), nil
}

// times says when video packets came.
func (p *relayEnd) times(from uint64, count int) []int64 {
	out := make([]int64, min(count, maxTimes))
	for i := range out {
		if pkt, ok := p.h.Get(videoTrack, from+uint64(i)); ok {
			out[i] = pkt.At.UnixNano()
		}
	}
	return out
}

func (p *relayEnd) usage() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := processUsage()
	u.Mallocs, u.Heap = m.Mallocs, m.HeapAlloc+m.StackInuse
	for _, l := range p.links {
		s := l.Stats()
		u.Forwarded += s.Forwarded
		u.Skipped += s.Skipped
	}
	return u
}
