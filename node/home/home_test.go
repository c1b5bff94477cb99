package home

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

func open(t *testing.T) *Home {
	t.Helper()
	h, err := Open(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newRoom(t *testing.T, name string) Room {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Room{ID: id, Name: name, Key: key, Speakers: []peer.ID{id}, Record: []byte("record")}
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode().Perm()
}

func TestIdentityStaysAndIsPrivate(t *testing.T) {
	h := open(t)
	a, err := h.Identity()
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if !a.Equals(b) {
		t.Error("the identity changed between two calls")
	}
	if m := mode(t, h.path("identity")); m != 0o600 {
		t.Errorf("identity has mode %o", m)
	}
	if m := mode(t, h.Dir()); m != 0o700 {
		t.Errorf("home has mode %o", m)
	}
	if left, _ := filepath.Glob(h.path(".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBrokenIdentityIsNotReplaced(t *testing.T) {
	h := open(t)
	if err := os.WriteFile(h.path("identity"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Identity(); err == nil || !strings.Contains(err.Error(), "hint:") {
		t.Errorf("got %v, want an error with a hint", err)
	}
	if b, _ := os.ReadFile(h.path("identity")); string(b) != "rubbish" {
		t.Error("the broken identity was overwritten")
	}
}

func TestSecondNodeIsKeptOut(t *testing.T) {
	h := open(t)
	l, err := h.Lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Lock()
	want := fmt.Sprintf("(PID %d)", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--home") {
		t.Errorf("got %v, want an error that names %s and --home", err, want)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	l, err = h.Lock()
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestRooms(t *testing.T) {
	h := open(t)
	if rooms, err := h.Rooms(); err != nil || len(rooms) != 0 {
		t.Fatalf("a new home has rooms %v, error %v", rooms, err)
	}
	b, a := newRoom(t, "beta"), newRoom(t, "alpha")
	b.Bootstrap = []string{"/ip4/127.0.0.1/udp/1/quic-v1"}
	for _, r := range []Room{b, a} {
		if err := h.AddRoom(r); err != nil {
			t.Fatal(err)
		}
	}
	if m := mode(t, h.path("rooms", b.ID.String()+".json")); m != 0o600 {
		t.Errorf("the room's key has mode %o", m)
	}
	if err := h.AddRoom(newRoom(t, "beta")); err == nil {
		t.Error("two rooms of one name")
	}
	rooms, err := h.Rooms()
	if err != nil || len(rooms) != 2 || rooms[0].Name != "alpha" || rooms[1].Name != "beta" {
		t.Fatalf("rooms are %v, error %v", rooms, err)
	}
	for _, by := range []string{"beta", b.ID.String()} {
		got, err := h.Room(by)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != b.ID || !got.Key.Equals(b.Key) || !bytes.Equal(got.Record, b.Record) ||
			len(got.Bootstrap) != 1 || len(got.Speakers) != 1 || got.Speakers[0] != b.ID {
			t.Errorf("by %s: got %+v", by, got)
		}
	}
	if _, err := h.Room("gamma"); !errors.Is(err, ErrNoRoom) {
		t.Errorf("unknown room: %v", err)
	}
}

func TestBrokenRoomFileIsNamed(t *testing.T) {
	h := open(t)
	r, other := newRoom(t, "one"), newRoom(t, "two")
	if err := h.AddRoom(r); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.path("rooms", r.ID.String()+".json"), h.path("rooms", other.ID.String()+".json")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Rooms(); err == nil || !strings.Contains(err.Error(), other.ID.String()) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"lecture": true, "Straße 7": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a\nb": false, "a\x1bb": false, "\xff": false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestConsoleAddress(t *testing.T) {
	h := open(t)
	if _, err := h.Console(); err == nil || !strings.Contains(err.Error(), "hint:") {
		t.Errorf("with no node: %v", err)
	}
	if err := h.SetConsole("http://127.0.0.1:1/"); err != nil {
		t.Fatal(err)
	}
	if u, err := h.Console(); err != nil || u != "http://127.0.0.1:1/" {
		t.Errorf("got %q, %v", u, err)
	}
	h.ClearConsole()
	if _, err := h.Console(); err == nil {
		t.Error("still there after ClearConsole")
	}
}

// FuzzRoomFile: what is read of a room's file is read again once it has been saved.
func FuzzRoomFile(f *testing.F) {
	h, err := Open(filepath.Join(f.TempDir(), "home"))
	if err != nil {
		f.Fatal(err)
	}
	key, err := crypto.UnmarshalPrivateKey(append([]byte{8, 1, 18, 64}, ed25519.NewKeyFromSeed(make([]byte, 32))...))
	if err != nil {
		f.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	path := h.path("rooms", id.String()+".json")
	if err := h.SaveRoom(Room{ID: id, Name: "talk", Key: key, Speakers: []peer.ID{id}, Record: []byte("record")}); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"name":"talk","key":"","lock":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRoom(path, id.String())
		if err != nil {
			return
		}
		saved := func(r Room) []byte {
			if err := h.SaveRoom(r); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		first := saved(r)
		if r, err = readRoom(path, id.String()); err != nil {
			t.Fatal(err)
		}
		if second := saved(r); !bytes.Equal(first, second) {
			t.Fatalf("%s\nbecomes\n%s", first, second)
		}
	})
}
