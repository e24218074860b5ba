package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tests := []struct {
		name    string
		events  string
		failed  bool
		results string
		prints  []string
	}{
		{
			name: "passes and skips",
			events: `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs root: opens\ta TUN\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"pass","Package":"p","Elapsed":1.25}`,
			results: "pass\tS\tp\tTestA\t\n" + "skip\tS\tp\tTestB\tb_test.go:7: needs root: opens a TUN\n",
			prints:  []string{"pass p 1.2s\n"},
		},
		{
			name: "a failure prints all its output",
			events: `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"output","Package":"p","Test":"TestA/x","Output":"    a_test.go:9: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestA/x","Elapsed":0}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"fail","Package":"p","Elapsed":1}`,
			failed:  true,
			results: "fail\tS\tp\tTestA/x\t\nfail\tS\tp\tTestA\t\n",
			prints:  []string{"FAIL p TestA/x\n    a_test.go:9: got 1, want 2\n", "fail p 1.0s\n"},
		},
		{
			name: "a test that never ends has failed",
			events: `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"panic: test timed out after 10s\n"}
{"Action":"fail","Package":"p","Elapsed":10}`,
			failed:  true,
			results: "fail\tS\tp\tTestA\t\n",
			prints:  []string{"panic: test timed out after 10s\n"},
		},
		{
			name: "a package that fails outside its tests",
			events: `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"p","Output":"3 goroutines leaked\n"}
{"Action":"fail","Package":"p","Elapsed":10}`,
			failed:  true,
			results: "pass\tS\tp\tTestA\t\nfail\tS\tp\t(package)\t\n",
			prints:  []string{"3 goroutines leaked\n"},
		},
		{
			name: "a package that does not build",
			events: `
{"ImportPath":"p [p.test]","Action":"build-output","Output":"a.go:1:1: syntax error\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p [p.test]"}`,
			failed:  true,
			results: "fail\tS\tp\t(package)\t\n",
			prints:  []string{"a.go:1:1: syntax error\n"},
		},
		{
			name:    "what is cut off has failed",
			events:  `{"Action":"start","Package":"p"}`,
			failed:  true,
			results: "fail\tS\tp\t(package)\t\n",
		},
		{
			name:   "a package without tests and a line that is no event",
			events: "go: downloading example.com v1.0.0\n" + `{"Action":"skip","Package":"p","Elapsed":0}`,
			prints: []string{"go: downloading example.com v1.0.0\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, results strings.Builder
			failed, err := report(strings.NewReader(tt.events), &out, &results, "S")
			if err != nil || failed != tt.failed {
				t.Errorf("failed = %v, error %v; want %v", failed, err, tt.failed)
			}
			if results.String() != tt.results {
				t.Errorf("results:\n%swant:\n%s", results.String(), tt.results)
			}
			for _, want := range tt.prints {
				if !strings.Contains(out.String(), want) {
					t.Errorf("printed:\n%swithout:\n%s", out.String(), want)
				}
			}
		})
	}
}
