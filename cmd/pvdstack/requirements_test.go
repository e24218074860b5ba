package main_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// requirements is the table of what is asked for and what proves it.
const requirements = root + "/docs/requirements.md"

// requirementIDs are the ids of all rows, in their order.
func requirementIDs() (ids []string) {
	number := func(letter string, last int) {
		for i := range last {
			ids = append(ids, fmt.Sprint(letter, i+1))
		}
	}
	number("R", 26)
	ids = append(ids, "Ha", "Hb")
	number("X", 6)
	number("S", 37)
	number("P", 56)
	return ids
}

// A requirement is a row of the table.
type requirement struct{ id, meaning, proof string }

// readRequirements returns the rows of a table in Markdown whose first cell is an id.
func readRequirements(text string) (rows []requirement) {
	row := regexp.MustCompile(`(?m)^\| ([RHXSP][0-9a-b]+) \| ([^|]+) \| ([^|]*) \|$`)
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		rows = append(rows, requirement{m[1], strings.TrimSpace(m[2]), strings.TrimSpace(m[3])})
	}
	return rows
}

// testName finds the names of tests in a row: the folder of the package, a dot, the test.
var testName = regexp.MustCompile("`([a-z0-9_/]+)\\.(Test[A-Za-z0-9_]+)`")

// needsNoTest are the words with which a row may do without a test: what will close it, or
// why there is nothing to prove.
var needsNoTest = regexp.MustCompile(`^(open: (#[45], [a-zA-Z ]+|VPN links, not begun)|none: .+|nothing that this stack has)$`)

// checkRequirement returns what is wrong with a row. skips says of the tests of a package
// whether each skips itself.
func checkRequirement(r requirement, skips func(folder string) map[string]bool) (problems []string) {
	named := testName.FindAllStringSubmatch(r.proof, -1)
	if len(named) == 0 && !needsNoTest.MatchString(r.proof) {
		problems = append(problems, r.id+" is neither proven nor marked open: "+r.proof)
	}
	for _, m := range named {
		switch skip, ok := skips(m[1])[m[2]]; {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s: there is no %s in %s", r.id, m[2], m[1]))
		case skip:
			problems = append(problems, fmt.Sprintf("%s: %s in %s skips itself", r.id, m[2], m[1]))
		}
	}
	return problems
}

func TestRequirements(t *testing.T) {
	text, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	rows := readRequirements(string(text))
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.id)
	}
	if want := requirementIDs(); !slices.Equal(ids, want) {
		t.Errorf("the table has the rows %v, want %v", ids, want)
	}
	packages := make(map[string]map[string]bool)
	skips := func(folder string) map[string]bool {
		if _, ok := packages[folder]; !ok {
			packages[folder] = testsIn(t, filepath.Join(root, folder))
		}
		return packages[folder]
	}
	for _, r := range rows {
		for _, problem := range checkRequirement(r, skips) {
			t.Error(problem)
		}
	}
}

// testsIn returns the tests in a folder, and of each whether it skips itself for anything
// but that it is not root.
func testsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	tests := make(map[string]bool)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				tests[fn.Name.Name] = skipsItself(fn)
			}
		}
	}
	return tests
}

// skipsItself reports whether a test may skip itself. That it needs root is said by
// functions of their own, and CI, which is root, counts every skip as a failure.
func skipsItself(fn *ast.FuncDecl) bool {
	skips := false
	ast.Inspect(fn, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "Skip") {
			if x, ok := s.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "tb") {
				skips = true
			}
		}
		return true
	})
	return skips
}

// TestRequirementsCheck holds that the check above can fail.
func TestRequirementsCheck(t *testing.T) {
	skips := func(folder string) map[string]bool {
		if folder == "pvd" {
			return map[string]bool{"TestA": false, "TestSkipped": true}
		}
		return nil
	}
	for proof, ok := range map[string]bool{
		"`pvd.TestA`":                 true,
		"`pvd.TestA`, `pvd.TestB`":    false,
		"`pvd.TestSkipped`":           false,
		"`stack.TestA`":               false,
		"open: #5, names":             true,
		"open: some day":              false,
		"":                            false,
		"?":                           false,
		"nothing that this stack has": true,
	} {
		if problems := checkRequirement(requirement{"R1", "something", proof}, skips); (len(problems) == 0) != ok {
			t.Errorf("%q: problems %q", proof, problems)
		}
	}
	if rows := readRequirements("| id | x | y |\n|---|---|---|\n| R1 | a | b |\n| Ha | c |  |\n"); len(rows) != 2 || rows[1] != (requirement{"Ha", "c", ""}) {
		t.Errorf("read %v", rows)
	}
}
