package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme does what the README says: it runs its programs and commands and checks its
// configuration.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := fencedBlocks(string(text))
	done := map[string]int{}
	for i, b := range blocks {
		done[b.language]++
		switch b.language {
		case "go":
			want := ""
			if i+1 < len(blocks) && blocks[i+1].language == "text" {
				want = blocks[i+1].text
			}
			runProgram(t, b.text, want)
		case "sh":
			for command := range strings.Lines(b.text) {
				runCommand(t, strings.TrimSpace(command))
			}
		case "yaml":
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			goRun(t, "./cmd/pvdstack", "check", "-c", file)
		case "text": // what a program prints
		default:
			t.Errorf("a block in %q: nothing here checks it", b.language)
		}
	}
	for _, language := range []string{"go", "sh", "yaml"} {
		if done[language] == 0 {
			t.Errorf("no block in %q was found", language)
		}
	}
}

type block struct{ language, text string }

func fencedBlocks(text string) (blocks []block) {
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return blocks
}

func runProgram(t *testing.T, text, want string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := goRun(t, file); got != want {
		t.Errorf("the program prints\n%s\nthe README says\n%s", got, want)
	}
}

// runCommand tries a command of the README. Each needs a case, since not all can be run
// as they stand.
func runCommand(t *testing.T, command string) {
	t.Helper()
	switch command {
	case "go run ./cmd/pvdstack demo": // would go on until it is interrupted
		goRun(t, "./cmd/pvdstack", "demo", "--once")
	case "./.ci/test": // runs this test
		if info, err := os.Stat(filepath.Join(root, ".ci", "test")); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s can not be run: %v", command, err)
		}
	default:
		t.Errorf("%s: nothing here runs it", command)
	}
}

// goRun runs a program with go run in the module's folder and returns what it prints.
func goRun(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run"}, args...)...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v: %v\n%s%s", cmd.Args, err, out, stderr.String())
	}
	return string(out)
}
