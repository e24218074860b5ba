package stack_test

import (
	"os"
	"strings"
	"testing"
)

// TestScopesPage holds that the program on the page on scopes is the one of ExampleApp.
func TestScopesPage(t *testing.T) {
	page, err := os.ReadFile("../docs/scopes.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("scope_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	flat := func(text string) string {
		lines := strings.Split(text, "\n")
		for i, l := range lines {
			lines[i] = strings.TrimSpace(l)
		}
		return strings.Join(lines, "\n")
	}
	_, block, _ := strings.Cut(string(page), "```go\n")
	block, _, ok := strings.Cut(block, "```")
	if !ok || !strings.Contains(flat(string(program)), flat(block)) {
		t.Errorf("not in ExampleApp:\n%s", block)
	}
}
