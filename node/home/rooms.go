package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watergy/waterfall/dht"
)

// maxName bounds a room's name in bytes, as the room record does.
const maxName = 64

// Room is a room made here: its key, and what its record says.
type Room struct {
	ID           peer.ID
	Name         string
	Key          crypto.PrivKey
	Speakers     []peer.ID
	AnyoneSpeaks bool
	Record       []byte   // as last signed
	Bootstrap    []string // multiaddrs with /p2p/ that went into its ticket

	Epoch      uint16    // of the secret; 0 means 1
	Lock       *dht.Lock // of a closed room: its secret, and how that is wrapped
	Recipients [][]byte  // OpenPGP public keys that a PGP room admits
	Hidden     [][]byte  // and those that it hides
}

// roomFile is a Room on disk: rooms/<id>.json, mode 0600 since it holds the key.
type roomFile struct {
	Name         string    `json:"name"`
	Key          []byte    `json:"key"`
	Speakers     []peer.ID `json:"speakers"`
	AnyoneSpeaks bool      `json:"anyone_speaks,omitempty"`
	Record       []byte    `json:"record"`
	Bootstrap    []string  `json:"bootstrap,omitempty"`
	Epoch        uint16    `json:"epoch,omitempty"`
	Lock         *dht.Lock `json:"lock,omitempty"`
	Recipients   [][]byte  `json:"pgp_recipients,omitempty"`
	Hidden       [][]byte  `json:"pgp_hidden,omitempty"`
}

// ErrNoRoom is that no room of that name or ID was made here.
var ErrNoRoom = errors.New("no such room was made here")

// CheckName says what is wrong with a room's name, if anything.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a room's name cannot be empty (hint: --name NAME)")
	case len(name) > maxName:
		return fmt.Errorf("a room's name has at most %d bytes, not %d (hint: a shorter --name)", maxName, len(name))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("a room's name is plain text in one line (hint: another --name)")
	}
	return nil
}

// AddRoom keeps a new room. Names are unique in a home, since commands take them.
func (h *Home) AddRoom(r Room) error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	switch _, err := h.Room(r.Name); {
	case err == nil:
		return fmt.Errorf("a room named %q was made here already (hint: another --name)", r.Name)
	case !errors.Is(err, ErrNoRoom):
		return err
	}
	return h.SaveRoom(r)
}

// SaveRoom writes r over what was kept of it.
func (h *Home) SaveRoom(r Room) error {
	key, err := crypto.MarshalPrivateKey(r.Key)
	if err != nil {
		return fmt.Errorf("keep the room's key: %w", err)
	}
	b, err := json.MarshalIndent(roomFile{
		Name: r.Name, Key: key, Speakers: r.Speakers, AnyoneSpeaks: r.AnyoneSpeaks,
		Record: r.Record, Bootstrap: r.Bootstrap,
		Epoch: r.Epoch, Lock: r.Lock, Recipients: r.Recipients, Hidden: r.Hidden,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the room: %w", err)
	}
	err = os.MkdirAll(h.path("rooms"), 0o700)
	if err == nil {
		err = replacePrivate(h.path("rooms", r.ID.String()+".json"), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the room: %w", err)
	}
	return nil
}

// Rooms lists the rooms made here by name.
func (h *Home) Rooms() ([]Room, error) {
	files, err := os.ReadDir(h.path("rooms"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rooms: %w", err)
	}
	var rooms []Room
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			continue
		}
		r, err := readRoom(h.path("rooms", f.Name()), id)
		if err != nil {
			return nil, err
		}
		rooms = append(rooms, r)
	}
	slices.SortFunc(rooms, func(a, b Room) int { return strings.Compare(a.Name, b.Name) })
	return rooms, nil
}

// Room finds a room made here by its name or ID; else ErrNoRoom.
func (h *Home) Room(nameOrID string) (Room, error) {
	rooms, err := h.Rooms()
	if err != nil {
		return Room{}, err
	}
	for _, r := range rooms {
		if r.Name == nameOrID || r.ID.String() == nameOrID {
			return r, nil
		}
	}
	return Room{}, ErrNoRoom
}

func readRoom(path, id string) (Room, error) {
	bad := func(err error) (Room, error) {
		return Room{}, fmt.Errorf("room file %s: %w (hint: move it away if it is broken)", filepath.Base(path), err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return bad(err)
	}
	var f roomFile
	if err := json.Unmarshal(b, &f); err != nil {
		return bad(err)
	}
	key, err := crypto.UnmarshalPrivateKey(f.Key)
	if err != nil {
		return bad(err)
	}
	owner, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return bad(err)
	}
	if owner.String() != id {
		return bad(errors.New("it holds the key of another room"))
	}
	return Room{
		ID: owner, Name: f.Name, Key: key, Speakers: f.Speakers, AnyoneSpeaks: f.AnyoneSpeaks,
		Record: f.Record, Bootstrap: f.Bootstrap,
		Epoch: f.Epoch, Lock: f.Lock, Recipients: f.Recipients, Hidden: f.Hidden,
	}, nil
}
