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
}

func (p *relayEnd) do(ctx context.Context, q request) (reply, error) {
	if q.Op == "usage" {
		return reply{Usage: p.usage()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d, _, err := link.ParseDescription(q.Offer)
	if err != nil {
		return reply{}, err
	}
	l, own, err := p.engine.Answer(ctx, fmt.Sprint(len(p.links)), d)
	if err != nil {
		return reply{}, err
	}
	if q.Op == "take" {
		if len(q.Stream) != len(stream.ID{}) {
			return reply{}, errors.New("no stream ID")
		}
		p.h = stream.NewHistory(stream.ID(q.Stream), stream.HistoryConfig{})
		l.Take(p.h)
	} else {
		l.Serve(p.h)
	}
	p.links = append(p.links, l)
	return reply{Answer: own.Append(nil)}, nil
}

func (p *relayEnd) usage() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := processUsage()
	u.Mallocs = m.Mallocs
	for _, l := range p.links {
		u.Forwarded += l.Stats().Forwarded
	}
	return u
}
