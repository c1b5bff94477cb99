package main

import (
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
