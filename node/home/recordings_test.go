package home

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Recordings are found, opened and deleted by name, and no name leads to any other file.
func TestRecordings(t *testing.T) {
	h, err := Open(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := h.Recordings(); err != nil || len(list) != 0 {
		t.Fatalf("of a new home: %v, %v", list, err)
	}
	dir := h.RecordingsDir()
	for _, err := range []error{
		os.Mkdir(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "talk.mkv"), []byte("talk"), 0o600),
		os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600),
		os.WriteFile(filepath.Join(h.Dir(), "secret.mkv"), nil, 0o600),
		os.Symlink("../secret.mkv", filepath.Join(dir, "link.mkv")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := h.Recordings()
	if err != nil || len(list) != 1 || list[0].Name != "talk.mkv" || list[0].Bytes != 4 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, name := range []string{"", ".", "..", "../secret.mkv", "link.mkv", "notes.txt", "none.mkv", "../identity", ".mkv"} {
		if f, err := h.OpenRecording(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q opens: %v, %v", name, f, err)
		}
		if err := h.DeleteRecording(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q can be deleted: %v", name, err)
		}
	}
	f, err := h.OpenRecording("talk.mkv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "talk" {
		t.Errorf("read %q, %v", b, err)
	}
	if err := h.DeleteRecording("talk.mkv"); err != nil {
		t.Error(err)
	}
}

// FuzzRecordingName: a name comes from the page, and leads to no other folder.
func FuzzRecordingName(f *testing.F) {
	for _, name := range []string{"talk.mkv", "../secret.mkv", `..\secret.webm`, ".mkv", "a/b.mkv", "."} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if isRecording(name) && (!filepath.IsLocal(name) || filepath.Dir(filepath.Join("recordings", name)) != "recordings") {
			t.Errorf("%q is taken", name)
		}
	})
}
