package dht

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	ds "github.com/ipfs/go-datastore"
	dsq "github.com/ipfs/go-datastore/query"
	recordlib "github.com/libp2p/go-libp2p-record"
	"google.golang.org/protobuf/proto"
)

func TestStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(10_000, func(v []byte) time.Duration { return time.Duration(v[0]) * time.Second })
		put := func(key string, life byte, size int) error {
			return s.Put(t.Context(), ds.NewKey(key), append([]byte{life}, make([]byte, size-1)...))
		}
		keys := func(prefix string) []string {
			t.Helper()
			res, err := s.Query(t.Context(), dsq.Query{Prefix: prefix})
			if err != nil {
				t.Fatal(err)
			}
			all, err := res.Rest()
			if err != nil {
				t.Fatal(err)
			}
			var k []string
			for _, e := range all {
				k = append(k, e.Key)
			}
			slices.Sort(k)
			return k
		}
		for _, k := range []string{"/a/1/x", "/a/1/y", "/a/2/x", "/b/k"} {
			if err := put(k, 10, 100); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprint(keys("/a/1"), keys("/a"), keys("/b"), keys("/a/3")); got != "[/a/1/x /a/1/y] [/a/1/x /a/1/y /a/2/x] [/b/k] []" {
			t.Errorf("queries give %s", got)
		}
		if v, err := s.Get(t.Context(), ds.NewKey("/b/k")); err != nil || len(v) != 100 {
			t.Errorf("got %d bytes, %v", len(v), err)
		}
		// Putting again replaces, and counts once.
		for range 100 {
			if err := put("/b/k", 20, 2000); err != nil {
				t.Fatal(err)
			}
		}
		if err := put("/big", 10, 9000); !errors.Is(err, errStoreFull) {
			t.Errorf("more than the limit: %v", err)
		}
		time.Sleep(11 * time.Second)
		if got := fmt.Sprint(keys("/a"), keys("/b")); got != "[] [/b/k]" {
			t.Errorf("after their lives there are %s", got)
		}
		time.Sleep(10 * time.Second)
		if _, err := s.Get(t.Context(), ds.NewKey("/b/k")); !errors.Is(err, ds.ErrNotFound) {
			t.Errorf("an expired value: %v", err)
		}
		if err := put("/big", 10, 9000); err != nil {
			t.Errorf("the room of the expired is not used: %v", err)
		}
		s.sweep(time.Now())
		if err := s.Delete(t.Context(), ds.NewKey("/big")); err != nil || s.bytes != 0 {
			t.Errorf("an empty store counts %d bytes, %v", s.bytes, err)
		}
	})
}

func TestRecordLife(t *testing.T) {
	a := newActor("a")
	raw := signedRecord(a, kindMember, place{}, uint64(then.UnixMilli()), 7*time.Second, nil)
	stored, err := proto.Marshal(recordlib.MakePutRecord("/key", raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := recordLife(stored); got != 7*time.Second {
		t.Errorf("a stored record lives %v", got)
	}
	if got := recordLife([]byte("junk")); got != 0 {
		t.Errorf("junk lives %v", got)
	}
}
