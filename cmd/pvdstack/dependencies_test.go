package main_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDependenciesDocumented holds docs/dependencies.md to the module files: the direct
// requirements and tools of each, no more and no less, each with a reason.
func TestDependenciesDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := dependencyLists(string(text))
	files := moduleFiles(t)
	for _, file := range files {
		want := directRequirements(t, file)
		if got := slices.Sorted(maps.Keys(documented[file])); !slices.Equal(got, want) {
			t.Errorf("%s requires\n\t%q\ndocs/dependencies.md lists\n\t%q", file, want, got)
		}
	}
	for file, list := range documented {
		if !slices.Contains(files, file) {
			t.Errorf("docs/dependencies.md has a section on %s, which does not exist", file)
		}
		for dependency, reason := range list {
			if len(strings.Fields(reason)) < 2 {
				t.Errorf("docs/dependencies.md: %s: %s has no reason", file, dependency)
			}
		}
	}
}

// dependencyLists returns the reason for each dependency under the heading of each
// module file.
func dependencyLists(text string) map[string]map[string]string {
	heading := regexp.MustCompile("^## `(.+)`$")
	item := regexp.MustCompile("^- `(.+?)`: (.*)$")
	lists := map[string]map[string]string{}
	file := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := heading.FindStringSubmatch(line); m != nil {
			file = m[1]
			lists[file] = map[string]string{}
		} else if m := item.FindStringSubmatch(line); m != nil && file != "" {
			lists[file][m[1]] = m[2]
		}
	}
	return lists
}

// moduleFiles returns the project's module files. What starts with a dot is ours only in
// .ci: the others are made by scripts.
func moduleFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && d.Name() != ".ci"
		if d.IsDir() && path != root && (hidden || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.Name() == "go.mod" {
			rel, err := filepath.Rel(root, path)
			files = append(files, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// directRequirements returns what a module file requires for its own packages or as a
// tool, apart from our own module.
func directRequirements(t *testing.T, file string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", file)
	cmd.Dir = root
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod edit -json %s: %v", file, err)
	}
	var m struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Tool []struct{ Path string }
	}
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	var direct []string
	for _, r := range m.Require {
		isTool := func(tool struct{ Path string }) bool { return below(tool.Path, r.Path) }
		if (!r.Indirect || slices.ContainsFunc(m.Tool, isTool)) && r.Path != module {
			direct = append(direct, r.Path)
		}
	}
	slices.Sort(direct)
	return direct
}
