// Report reads the events of go test -json on standard input and prints what a person
// wants of them: a line for each package, and the whole output of what failed. It exits 1
// if anything did.
//
//	go test -json ./... | report STAGE FILE
//
// It appends to FILE a line for each test and subtest that ran: pass, fail or skip, the
// stage, the package, the test and, if it was skipped, the reason, separated by tabs.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ... | report STAGE FILE")
		os.Exit(2)
	}
	results, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	failed, err := report(os.Stdin, os.Stdout, results, os.Args[1])
	if err == nil {
		err = results.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// An event is what cmd/test2json documents, with the fields that are used here.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output: the package that was built
	Test       string
	Elapsed    float64
	Output     string
}

type key struct{ pkg, test string }

// A run is what is known of the tests so far.
type run struct {
	out     io.Writer
	results io.Writer
	stage   string
	output  map[key]*strings.Builder // of tests that have not ended
	failed  map[string]bool          // packages of which a test has failed
	any     bool
}

// report copies one stage's results and says whether anything failed.
func report(in io.Reader, out, results io.Writer, stage string) (bool, error) {
	r := &run{out: out, results: results, stage: stage, output: map[key]*strings.Builder{}, failed: map[string]bool{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				e = event{Action: "build-output", Output: string(line)} // go itself, not a test
			}
			r.add(e)
		}
		if err == io.EOF {
			return r.end(), nil
		}
		if err != nil {
			return true, err
		}
	}
}

func (r *run) add(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.any = true
	case "start", "run":
		r.output[k] = &strings.Builder{}
	case "output":
		if b := r.output[k]; b != nil {
			b.WriteString(e.Output)
		} else {
			fmt.Fprint(r.out, e.Output)
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(k, e.Action)
		}
	}
}

func (r *run) endTest(k key, result string) {
	var output string
	if b := r.output[k]; b != nil {
		output = b.String()
	}
	delete(r.output, k)
	reason := ""
	switch result {
	case "fail":
		r.any, r.failed[k.pkg] = true, true
		fmt.Fprintf(r.out, "FAIL %s %s\n%s", k.pkg, k.test, output)
	case "skip":
		reason = reasonOf(output)
	}
	r.record(result, k, reason)
}

// endPackage also counts as failed what the package's process left unfinished when it
// ended, by a panic or by the timeout.
func (r *run) endPackage(e event) {
	var open []key
	for k := range r.output {
		if k.pkg == e.Package && k.test != "" {
			open = append(open, k)
		}
	}
	slices.SortFunc(open, func(a, b key) int { return strings.Compare(a.test, b.test) })
	for _, k := range open {
		r.endTest(k, "fail")
	}
	k := key{e.Package, ""}
	output := r.output[k]
	delete(r.output, k)
	if e.Action == "skip" { // no test files
		return
	}
	if e.Action == "fail" {
		r.any = true
		if output != nil {
			fmt.Fprint(r.out, output.String())
		}
		if !r.failed[e.Package] {
			r.record("fail", key{e.Package, "(package)"}, "")
		}
	}
	fmt.Fprintf(r.out, "%-4s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
}

// end reports packages whose result never came, as when go test itself was killed.
func (r *run) end() bool {
	var open []string
	for k := range r.output {
		if !slices.Contains(open, k.pkg) {
			open = append(open, k.pkg)
		}
	}
	slices.Sort(open)
	for _, pkg := range open {
		r.endPackage(event{Action: "fail", Package: pkg})
	}
	return r.any
}

func (r *run) record(result string, k key, reason string) {
	fmt.Fprintf(r.results, "%s\t%s\t%s\t%s\t%s\n", result, r.stage, k.pkg, k.test, reason)
}

// reasonOf returns what a test said when it skipped itself, in one line.
func reasonOf(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, strings.ReplaceAll(line, "\t", " "))
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
