package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong for one system only is found there, and nowhere else.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":           "module example.org/x\n\ngo 1.24\n",
		"main.go":          "package main\n\nimport \"strings\"\n\nfunc main() { println(strings.ToUpper(system())) }\n",
		"other.go":         "//go:build !windows\n\npackage main\n\nfunc system() string { return \"other\" }\n",
		"other_windows.go": "package main\n\nfunc system() int { return 1 }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	if err := check(".", "darwin", "arm64"); err != nil {
		t.Errorf("darwin: %v", err)
	}
	if err := check(".", "windows", "amd64"); err == nil || !strings.Contains(err.Error(), "cannot use system()") {
		t.Errorf("windows: %v", err)
	}
}
