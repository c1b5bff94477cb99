// Package need gives tests the programs they cannot do without: they fail under
// CI=true when one is missing, and skip with a loud line anywhere else.
package need

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// CI reports whether this is a run in which nothing may be skipped.
func CI() bool { return os.Getenv("CI") == "true" }

// Program returns the path of a program that scripts/setup installs.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		// Debian keeps ip and nft where only root looks.
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name))
	}
	if err != nil {
		missing(t, name+" is not installed (hint: run scripts/setup)")
	}
	return path
}

// Root makes sure that the test may make network namespaces.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "network namespaces need root (hint: run as root)")
	}
}

// Docker returns the docker client, and makes sure that its daemon answers.
func Docker(t testing.TB) string {
	t.Helper()
	docker, err := exec.LookPath("docker")
	if err != nil {
		missing(t, "docker is not installed")
	}
	if out, err := exec.Command(docker, "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		missing(t, "no docker daemon answers: "+string(out))
	}
	return docker
}

// Compose returns the command that reads compose files: docker-compose or docker compose.
func Compose(t testing.TB) []string {
	t.Helper()
	docker := Docker(t)
	if path, err := exec.LookPath("docker-compose"); err == nil {
		return []string{path}
	}
	if exec.Command(docker, "compose", "version").Run() != nil {
		missing(t, "neither docker-compose nor docker compose is installed")
	}
	return []string{docker, "compose"}
}

// Build makes bin/wfnode as `make build` does and returns its path. The build cache
// makes every call but the first quick.
func Build() (string, error) {
	root, err := Module()
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("make", "--no-print-directory", "-C", root, "build").CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build: %w\n%s", err, out)
	}
	return filepath.Join(root, "bin", "wfnode"), nil
}

// Module returns the top folder of this repository.
func Module() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

func missing(t testing.TB, why string) {
	t.Helper()
	if CI() {
		t.Fatal(why)
	}
	t.Skip("SKIPPED, NOTHING WAS TESTED: " + why)
}
