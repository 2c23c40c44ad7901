package services_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kiteshop/kiteshop"

// source is one package of the module as it ships: without its tests, and with
// the files of every platform.
type source struct {
	path  string // "./services/item"; the root of the module is "."
	files []file
}

type file struct {
	name string
	*ast.File
}

// load parses all packages of the module that are more than tests.
func load(t *testing.T) []source {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,GoFiles,CgoFiles,IgnoredGoFiles", module+"/...")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var sources []source
	for decoder := json.NewDecoder(&stdout); ; {
		var listed struct {
			ImportPath, Dir                   string
			GoFiles, CgoFiles, IgnoredGoFiles []string
		}
		err := decoder.Decode(&listed)
		if errors.Is(err, io.EOF) {
			return sources
		}
		if err != nil {
			t.Fatal(err)
		}
		s := source{path: short(listed.ImportPath)}
		for _, name := range slices.Concat(listed.GoFiles, listed.CgoFiles, listed.IgnoredGoFiles) {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(listed.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			s.files = append(s.files, file{s.path + "/" + name, parsed})
		}
		if len(s.files) > 0 {
			sources = append(sources, s)
		}
	}
}

// short writes the packages of the module as the go command does: ./services/item.
func short(importPath string) string {
	if below, ours := strings.CutPrefix(importPath, module); ours {
		return "." + below
	}
	return importPath
}

// imports is all that the package imports, sorted.
func (s source) imports() []string {
	var all []string
	for _, f := range s.files {
		for _, spec := range f.Imports {
			all = append(all, imported(spec))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func imported(spec *ast.ImportSpec) string {
	importPath, _ := strconv.Unquote(spec.Path.Value) // the parser has looked at it
	return short(importPath)
}

// nameOf is the name under which the file uses a package of the standard
// library, or "" if it does not import it.
func (f file) nameOf(importPath string) string {
	for _, spec := range f.Imports {
		if imported(spec) != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// matches tells whether pattern means the package: "..." is every package,
// "std" the standard library, "a/..." is a and all below it, and "a/*/b" is as
// in path.Match.
func matches(pattern, importPath string) bool {
	if pattern == "..." {
		return true
	}
	if pattern == "std" {
		first, _, _ := strings.Cut(importPath, "/")
		return !strings.Contains(first, ".")
	}
	if root, ok := strings.CutSuffix(pattern, "/..."); ok {
		return importPath == root || strings.HasPrefix(importPath, root+"/")
	}
	matched, err := path.Match(pattern, importPath)
	return matched && err == nil
}

func matchesAny(patterns []string, importPath string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, importPath) })
}

// among gives the packages that of means and not does not mean.
func among(sources []source, of, not []string) []source {
	var found []source
	for _, s := range sources {
		if matchesAny(of, s.path) && !matchesAny(not, s.path) {
			found = append(found, s)
		}
	}
	return found
}

// stale lists the patterns of the module's own packages that mean none.
func stale(sources []source, patterns ...string) []string {
	var none []string
	for _, pattern := range patterns {
		if strings.HasPrefix(pattern, ".") && len(among(sources, []string{pattern}, nil)) == 0 {
			none = append(none, pattern+" matches no package")
		}
	}
	return none
}
