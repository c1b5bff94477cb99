// Command cross type-checks a program with all that it imports for other systems, from
// source: what the compiler would refuse there is found in a fraction of a build's time.
// Assembly and linking are not looked at (make dist builds it all).
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

func main() {
	path := flag.String("package", "./cmd/wfnode", "the program")
	flag.Parse()
	var all sync.WaitGroup
	var failed atomic.Bool
	for _, target := range flag.Args() {
		all.Go(func() {
			system, arch, _ := strings.Cut(target, "/")
			if err := check(*path, system, arch); err != nil {
				fmt.Fprintf(os.Stderr, "cross: %s does not compile for %s: %v\n", *path, target, err)
				failed.Store(true)
			}
		})
	}
	all.Wait()
	if failed.Load() {
		os.Exit(1)
	}
}

// listed is what `go list -json` says of a package.
type listed struct {
	Dir, ImportPath string
	GoFiles         []string
	ImportMap       map[string]string
	Module          *struct{ GoVersion string }
	Error           *struct{ Err string }
}

// check type-checks a package and its imports, which `go list -deps` lists before it.
func check(path, system, arch string) error {
	list := exec.Command("go", "list", "-deps", "-json=Dir,ImportPath,GoFiles,ImportMap,Module,Error", path)
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list its imports: %w", err)
	}
	known := map[string]*types.Package{"unsafe": types.Unsafe}
	for packages := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if p.Error != nil {
			return errors.New(p.Error.Err)
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		if known[p.ImportPath], err = p.check(known, arch); err != nil {
			return err
		}
	}
}

// imports resolves the imports of one package.
type imports struct {
	known map[string]*types.Package
	named map[string]string // the standard library's vendored packages
}

func (i imports) Import(path string) (*types.Package, error) {
	if other, ok := i.named[path]; ok {
		path = other
	}
	if p := i.known[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s is not among the imports", path)
}

func (p listed) check(known map[string]*types.Package, arch string) (*types.Package, error) {
	files := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	c := types.Config{Importer: imports{known, p.ImportMap}, Sizes: types.SizesFor("gc", arch)}
	if p.Module != nil && p.Module.GoVersion != "" {
		c.GoVersion = "go" + p.Module.GoVersion
	}
	return c.Check(p.ImportPath, files, parsed, nil)
}
