package services_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
)

// kitIsShared looks at who imports each package of the kit and what it exports.
func kitIsShared(sources []source) []string {
	const minRooms, maxNames = 2, 20
	kit := among(sources, []string{"./services/internal/*"}, nil)
	if len(kit) == 0 {
		return []string{"there is no kit"}
	}
	var violations []string
	for _, k := range kit {
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "base", "misc"}, path.Base(k.path)) {
			violations = append(violations, k.path+" is named for nothing that it does")
		}
		users := map[string]bool{}
		for _, s := range among(sources, []string{"./services/..."}, []string{"./services/internal/..."}) {
			if slices.Contains(s.imports(), k.path) {
				users[strings.Split(s.path, "/")[2]] = true
			}
		}
		if len(users) < minRooms {
			violations = append(violations, fmt.Sprintf("%s serves only the rooms %v", k.path, slices.Sorted(maps.Keys(users))))
		}
		if names := exported(k); len(names) > maxNames {
			violations = append(violations, fmt.Sprintf("%s exports %d names: %v", k.path, len(names), names))
		}
	}
	return violations
}

// exported lists the names at the top level that others can use. The values of
// an exported type, as the codes of faults, count with their type.
func exported(s source) []string {
	var names []string
	add := func(ident *ast.Ident) {
		if ident.IsExported() {
			names = append(names, ident.Name)
		}
	}
	for _, f := range s.files {
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil {
					add(decl.Name)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(spec.Name)
					case *ast.ValueSpec:
						if of, ok := spec.Type.(*ast.Ident); ok && of.IsExported() && decl.Tok == token.CONST {
							continue
						}
						for _, name := range spec.Names {
							add(name)
						}
					}
				}
			}
		}
	}
	return names
}

// process says for patterns of packages which of the process's own things they
// may use: "os.Exit", or "flag in T.F" for all of a package, but only in a method.
type process map[string][]string

func (p process) check(sources []source) []string {
	patterns := slices.Collect(maps.Keys(p))
	violations := stale(sources, patterns...)
	used := map[string]bool{}
	for _, s := range sources {
		for _, use := range processUses(s) {
			allowed := false
			for pattern, allowances := range p {
				for _, allowance := range allowances {
					if matches(pattern, s.path) && (allowance == use.what || allowance == use.what+" in "+use.in) {
						allowed, used[pattern+" "+allowance] = true, true
					}
				}
			}
			if !allowed {
				violations = append(violations, fmt.Sprintf("%s uses %s in %s", use.file, use.what, use.in))
			}
		}
	}
	for pattern, allowances := range p {
		for _, allowance := range allowances {
			if !used[pattern+" "+allowance] {
				violations = append(violations, fmt.Sprintf("%s does not use %s, which it may", pattern, allowance))
			}
		}
	}
	return violations
}

type processUse struct{ file, what, in string }

// processUses finds what ties a package to the process that it runs in.
func processUses(s source) []processUse {
	var uses []processUse
	for _, f := range s.files {
		names := map[string]string{f.nameOf("os"): "os", f.nameOf("log"): "log", f.nameOf("flag"): "flag"}
		delete(names, "")
		for _, decl := range f.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				selector, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				ident, ok := selector.X.(*ast.Ident)
				if !ok {
					return true
				}
				switch what := names[ident.Name] + "." + selector.Sel.Name; {
				case names[ident.Name] == "flag":
					uses = append(uses, processUse{f.name, "flag", nameOfDecl(decl)})
				case slices.Contains([]string{"os.Getenv", "os.LookupEnv", "os.Environ", "os.Setenv", "os.Exit", "os.Args"}, what),
					strings.HasPrefix(what, "log.Fatal"), strings.HasPrefix(what, "log.Panic"):
					uses = append(uses, processUse{f.name, what, nameOfDecl(decl)})
				}
				return true
			})
		}
	}
	return uses
}

// nameOfDecl is F, T.F, or "a declaration".
func nameOfDecl(decl ast.Decl) string {
	function, ok := decl.(*ast.FuncDecl)
	if !ok {
		return "a declaration"
	}
	if function.Recv == nil {
		return function.Name.Name
	}
	receiver := function.Recv.List[0].Type
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	return fmt.Sprintf("%s.%s", receiver, function.Name.Name)
}

// noGlobals allows error values, interface assertions, embedded files and the
// version, which only the linker writes.
func noGlobals(sources []source) []string {
	var violations []string
	allowed := map[string]bool{}
	for _, s := range among(sources, []string{"./..."}, []string{"./idl/kitex_gen/..."}) {
		for _, f := range s.files {
			for _, decl := range f.Decls {
				switch decl := decl.(type) {
				case *ast.FuncDecl:
					if decl.Recv == nil && decl.Name.Name == "init" {
						violations = append(violations, f.name+" has an init")
					}
				case *ast.GenDecl:
					if decl.Tok != token.VAR {
						continue
					}
					for _, spec := range decl.Specs {
						kind := globalKind(f, spec.(*ast.ValueSpec))
						allowed[kind] = true
						if kind == "" {
							violations = append(violations, fmt.Sprintf("%s has the variable %s", f.name, spec.(*ast.ValueSpec).Names[0]))
						}
					}
				}
			}
		}
	}
	for _, kind := range []string{"error", "assertion", "embed", "version"} {
		if !allowed[kind] {
			violations = append(violations, "no package has a variable of the kind "+kind)
		}
	}
	return violations
}

// globalKind is error, assertion, embed or version, or "" for a variable that is none of them.
func globalKind(f file, spec *ast.ValueSpec) string {
	if !slices.ContainsFunc(spec.Names, func(name *ast.Ident) bool { return name.Name != "_" }) {
		return "assertion"
	}
	if selector, ok := spec.Type.(*ast.SelectorExpr); ok && fmt.Sprint(selector.X) == f.nameOf("embed") && selector.Sel.Name == "FS" {
		return "embed"
	}
	if spec.Names[0].Name == "version" && fmt.Sprint(spec.Type) == "string" && spec.Values == nil {
		return "version"
	}
	if len(spec.Values) != len(spec.Names) {
		return ""
	}
	for _, value := range spec.Values {
		call, ok := value.(*ast.CallExpr)
		if !ok {
			return ""
		}
		function, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"errors.New", "fmt.Errorf"}, fmt.Sprintf("%s.%s", function.X, function.Sel)) {
			return ""
		}
	}
	return "error"
}

// packageComments looks at what is written by hand.
func packageComments(sources []source) []string {
	var violations []string
	byHand := among(sources, []string{"./..."}, []string{"./idl/kitex_gen/..."})
	if len(byHand) == 0 {
		return []string{"there is no package"}
	}
	for _, s := range byHand {
		var comments []string
		for _, f := range s.files {
			if f.Doc != nil {
				comments = append(comments, f.Doc.Text())
			}
		}
		want := "Package " + s.files[0].Name.Name + " "
		if s.files[0].Name.Name == "main" {
			want = "Command "
		}
		if len(comments) != 1 || !strings.HasPrefix(comments[0], want) {
			violations = append(violations, fmt.Sprintf("%s has the package comments %q, want one that begins with %q", s.path, comments, want))
		}
	}
	return violations
}
