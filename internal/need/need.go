// Package need gives tests the programs they cannot do without: they fail under
// CI=true when one is missing, and skip with a loud line anywhere else.
package need

import (
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

// Module returns the top folder of this repository.
func Module(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// Wfnode builds bin/wfnode as `make build` does and returns its path. The build
// cache makes every call but the first quick.
func Wfnode(t testing.TB) string {
	t.Helper()
	root := Module(t)
	if out, err := exec.Command("make", "--no-print-directory", "-C", root, "build").CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	return filepath.Join(root, "bin", "wfnode")
}

func missing(t testing.TB, why string) {
	t.Helper()
	if CI() {
		t.Fatal(why)
	}
	t.Skip("SKIPPED, NOTHING WAS TESTED: " + why)
}
