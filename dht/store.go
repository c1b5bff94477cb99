package dht

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	ds "github.com/ipfs/go-datastore"
	dsq "github.com/ipfs/go-datastore/query"
	recpb "github.com/libp2p/go-libp2p-record/pb"
	"google.golang.org/protobuf/proto"
)

var errStoreFull = errors.New("the store is full")

// store is the memory of a DHT server: what it holds goes when its life, counted from
// receipt, is over, and there is never more of it than limit bytes, of which what lives
// for long may take half: so nobody can fill it for days.
type store struct {
	life  func(value []byte) time.Duration
	limit int

	mu    sync.Mutex                 // guards all below
	dirs  map[string]map[string]item // by directory and base name of the key
	bytes int
	long  int // of bytes, those of items that live for long
	swept time.Time
}

type item struct {
	value []byte
	until time.Time
	long  bool
}

// longLife is more than what is refreshed while somebody is there lives for.
const longLife = time.Hour

// itemCost is what an entry takes besides key and value, roughly.
const itemCost = 128

func newStore(limit int, life func([]byte) time.Duration) *store {
	return &store{life: life, limit: limit, dirs: map[string]map[string]item{}}
}

// recordLife is the life of a stored DHT value of ours.
func recordLife(value []byte) time.Duration {
	var rec recpb.Record
	if proto.Unmarshal(value, &rec) != nil {
		return 0
	}
	r, err := parseRecord(rec.GetValue())
	if err != nil {
		return 0
	}
	return r.life
}

func split(k ds.Key) (dir, base string) {
	i := strings.LastIndexByte(k.String(), '/')
	return k.String()[:i], k.String()[i+1:]
}

func (s *store) Put(_ context.Context, k ds.Key, value []byte) error {
	now := time.Now()
	dir, base := split(k)
	need, life := cost(dir, base, value), s.life(value)
	long := life > longLife
	s.mu.Lock()
	defer s.mu.Unlock()
	full := func() bool { return s.bytes+need > s.limit || long && s.long+need > s.limit/2 }
	if now.Sub(s.swept) > time.Minute || full() && now.Sub(s.swept) > time.Second {
		s.sweep(now)
	}
	s.remove(dir, base)
	if full() {
		return errStoreFull
	}
	if s.dirs[dir] == nil {
		s.dirs[dir] = map[string]item{}
	}
	s.dirs[dir][base] = item{value, now.Add(life), long}
	s.bytes += need
	if long {
		s.long += need
	}
	return nil
}

func cost(dir, base string, value []byte) int { return len(dir) + len(base) + len(value) + itemCost }

func (s *store) sweep(now time.Time) {
	s.swept = now
	for dir, items := range s.dirs {
		for base, it := range items {
			if now.After(it.until) {
				s.remove(dir, base)
			}
		}
	}
}

func (s *store) remove(dir, base string) {
	it, ok := s.dirs[dir][base]
	if !ok {
		return
	}
	s.bytes -= cost(dir, base, it.value)
	if it.long {
		s.long -= cost(dir, base, it.value)
	}
	delete(s.dirs[dir], base)
	if len(s.dirs[dir]) == 0 {
		delete(s.dirs, dir)
	}
}

func (s *store) Get(_ context.Context, k ds.Key) ([]byte, error) {
	dir, base := split(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.dirs[dir][base]
	if !ok || time.Now().After(it.until) {
		s.remove(dir, base)
		return nil, ds.ErrNotFound
	}
	return it.value, nil
}

func (s *store) Has(ctx context.Context, k ds.Key) (bool, error) {
	_, err := s.Get(ctx, k)
	return err == nil, nil
}

func (s *store) GetSize(ctx context.Context, k ds.Key) (int, error) {
	v, err := s.Get(ctx, k)
	if err != nil {
		return -1, err
	}
	return len(v), nil
}

func (s *store) Delete(_ context.Context, k ds.Key) error {
	dir, base := split(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(dir, base)
	return nil
}

// Query walks one directory, or everything for a prefix of one part. The provider
// manager asks for a directory at every request that finds nobody, so that must be cheap.
func (s *store) Query(_ context.Context, q dsq.Query) (dsq.Results, error) {
	now := time.Now()
	prefix := strings.TrimRight(q.Prefix, "/")
	s.mu.Lock()
	var found []dsq.Entry
	add := func(dir string) {
		for base, it := range s.dirs[dir] {
			if !now.After(it.until) {
				found = append(found, dsq.Entry{Key: dir + "/" + base, Value: it.value, Size: len(it.value)})
			}
		}
	}
	if strings.Count(prefix, "/") > 1 {
		add(prefix)
	} else {
		for dir := range s.dirs {
			add(dir)
		}
	}
	s.mu.Unlock()
	return dsq.NaiveQueryApply(q, dsq.ResultsWithEntries(q, found)), nil
}

func (s *store) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(s), nil }
func (s *store) Sync(context.Context, ds.Key) error      { return nil }
func (s *store) Close() error                            { return nil }
