package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAPIPages runs the programs on the pages of the three levels of the API. Each prints
// what the block in "text" after it says.
func TestAPIPages(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"basic", "intermediate", "advanced"} {
		t.Run(level, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, "docs", "api-"+level+".md"))
			if err != nil {
				t.Fatal(err)
			}
			blocks, ran := fencedBlocks(string(text)), 0
			for i, b := range blocks {
				if b.language != "go" || !strings.HasPrefix(b.text, "package main\n") {
					continue
				}
				if i+1 == len(blocks) || blocks[i+1].language != "text" {
					t.Fatal("a program without what it prints")
				}
				ran++
				runProgram(t, b.text, blocks[i+1].text)
			}
			if ran == 0 {
				t.Error("the page has no program")
			}
		})
	}
}
