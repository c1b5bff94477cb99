package home

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Recording is a file of the folder of recordings.
type Recording struct {
	Name     string    `json:"name"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
}

// RecordingsDir is where recordings are made that no path was named for.
func (h *Home) RecordingsDir() string { return h.path("recordings") }

// Recordings lists them, the newest first.
func (h *Home) Recordings() ([]Recording, error) {
	files, err := os.ReadDir(h.RecordingsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	list := []Recording{}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() || !isRecording(f.Name()) {
			continue // it has gone meanwhile, or is none of ours
		}
		list = append(list, Recording{Name: f.Name(), Bytes: info.Size(), Modified: info.ModTime()})
	}
	slices.SortFunc(list, func(a, b Recording) int {
		return cmp.Or(b.Modified.Compare(a.Modified), strings.Compare(a.Name, b.Name))
	})
	return list, nil
}

// OpenRecording opens one to be read. Its name is that of Recordings, without a folder.
func (h *Home) OpenRecording(name string) (*os.File, error) {
	path, err := h.recording(name)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// DeleteRecording removes one.
func (h *Home) DeleteRecording(name string) error {
	path, err := h.recording(name)
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// recording is the path of a regular file in the folder, and of nothing else: links could
// lead out of it.
func (h *Home) recording(name string) (string, error) {
	path := h.path("recordings", name)
	if info, err := os.Lstat(path); !isRecording(name) || err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("there is no recording %q: %w", name, fs.ErrNotExist)
	}
	return path, nil
}

func isRecording(name string) bool {
	ext := filepath.Ext(name)
	return (ext == ".mkv" || ext == ".webm") && filepath.Base(name) == name && !strings.HasPrefix(name, ".")
}
