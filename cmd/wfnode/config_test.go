package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// Whoever takes the # away from any line of the template gets a file that is read.
func TestConfigTemplateIsTOML(t *testing.T) {
	root := newRoot()
	var settings []string
	for line := range strings.Lines(string(configTemplate(root))) {
		if s, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(s, " ") {
			settings = append(settings, s)
		}
	}
	var file map[string]any
	if err := toml.Unmarshal([]byte(strings.Join(settings, "")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file) != len(settings) || len(file) < 15 {
		t.Errorf("%d settings on %d lines", len(file), len(settings))
	}
	for key := range file {
		known := false
		for _, k := range configKeys(root) {
			known = known || k == key
		}
		if !known {
			t.Errorf("%s is not taken from a file", key)
		}
	}
}

// FuzzConfig: a file's settings are taken, or refused in words about the file.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("uplink = \"10mbps\"\nslots = 3\nbootstrap = [\"none\"]\n"))
	f.Add([]byte("slots = [1, 2]\nlisten = {a = 1}\n"))
	f.Add([]byte("delay = 1979-05-27T07:32:00Z"))
	path := filepath.Join(f.TempDir(), configFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd, _, err := newRoot().Find([]string{"join"})
		if err != nil {
			t.Fatal(err)
		}
		if err := fromFile(cmd, path); err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("which file? %v", err)
		}
	})
}
