package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		main() // the processes that run starts
		return
	}
	os.Exit(m.Run())
}

// Everything runs, and each goal is judged from figures that were measured.
func TestQuick(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and TUN devices")
	}
	before, err := os.ReadFile(allowedPath)
	if err != nil {
		t.Fatal(err)
	}
	out := captureOutput(t, func() error { return run(t.Context(), []string{"-quick", "-streams", "1,2"}) })
	for _, want := range []string{
		"## Traffic: tun", "## Traffic: tap", "## Traffic: packet", "## Cost of one more", "## Connecting from a PvD with routes: tap",
		"## One PvD among 50: tun, all on its link", "## Goals", "down Gbit/s, 2 streams", "\n| " + laneWireguard + " | ", "\n| " + laneKernel + " | ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the output", want)
		}
	}
	if strings.Contains(out, "failed") || strings.Contains(out, "NaN") {
		t.Error("a figure was not measured")
	}
	if t.Failed() {
		t.Log(out)
	}
	if after, err := os.ReadFile(allowedPath); err != nil || !bytes.Equal(before, after) {
		t.Errorf("%s is %q afterwards, was %q", allowedPath, after, before)
	}
}

// captureOutput returns what f writes to the standard output.
func captureOutput(t *testing.T, f func() error) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = w
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		read <- string(b)
	}()
	err = f()
	os.Stdout = old
	w.Close()
	out := <-read
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func TestSeries(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		s    series
		want string
	}{
		{series{3, 1, 2}, "2.00 (1.00–3.00)"},
		{series{4, nan, 1, 2, 3}, "2.50 (1.00–4.00)"},
		{series{123.4}, "123"},
		{series{12.34}, "12.3"},
		{series{nan, nan}, "failed"},
		{nil, "failed"},
	} {
		if got := tt.s.String(); got != tt.want {
			t.Errorf("%v is shown as %q, want %q", []float64(tt.s), got, tt.want)
		}
	}
}

// The ranks are those of the tables of the sign test.
func TestInterval(t *testing.T) {
	for n, want := range map[int]string{5: "0 0 false", 6: "1 6 true", 9: "2 8 true", 21: "6 16 true", 30: "10 21 true"} {
		var s series
		for i := range n {
			s = append(s, float64(i+1))
		}
		if got := fmt.Sprintln(s.interval()); got != want+"\n" {
			t.Errorf("of %d rounds: %swant: %s", n, got, want)
		}
	}
}

// Above 1 is better, whether more is better or less.
func TestRatios(t *testing.T) {
	ours, other := series{2, 3, 4}, series{1, 2, 8}
	if got := fmt.Sprint([]float64(ratios(ours, other, false))); got != "[2 1.5 0.5]" {
		t.Errorf("ratios where more is better: %s", got)
	}
	if got := fmt.Sprint([]float64(ratios(ours, other, true))); got != "[0.5 0.6666666666666666 2]" {
		t.Errorf("ratios where less is better: %s", got)
	}
}

func TestGoals(t *testing.T) {
	for _, tt := range []struct {
		figures series
		most    bool
		met     bool
	}{
		{series{0.9, 0.95, 2}, false, true},
		{series{0.9, 0.94, 2}, false, false},
		{series{0.9, 0.95, 2}, true, true},
		{series{0.9, 0.96, 2}, true, false},
		{series{math.NaN()}, false, false},
		{series{math.NaN()}, true, false},
	} {
		g := goal{what: "x", figures: tt.figures, bound: 0.95, most: tt.most}
		var out bytes.Buffer
		writeGoals(&out, []goal{g})
		if met := strings.Contains(out.String(), "| met |"); met != tt.met || strings.Contains(out.String(), "NOT MET") == tt.met {
			t.Errorf("%v, at most %t: met = %t, want %t", tt.figures, tt.most, met, tt.met)
		}
	}
}

func TestParse(t *testing.T) {
	for _, bad := range [][]string{
		{"-rounds", "0"},
		{"-window", "0s"},
		{"-warm", "-1s"},
		{"-mtu", "575"},
		{"-mtu", "65521"},
		{"-links", "tun,vpn"},
		{"-cells", "x"},
		{"-streams", "0"},
		{"-streams", "1,x"},
		{"argument"},
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	o, err := parse([]string{"-quick", "-links", "tap"})
	if err != nil || o.rounds != 1 || len(o.links) != 1 || o.links[0] != linkTAP {
		t.Errorf("-quick -links tap: %+v, %v", o, err)
	}
}
