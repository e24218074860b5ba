package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// writeTable prints a record: medians, with the least and the largest.
func writeTable(w io.Writer, title, first string, rec *record) {
	fmt.Fprintf(w, "\n## %s\n\n", title)
	names, rule := []string{first}, []string{"---"}
	for _, c := range rec.columns {
		names, rule = append(names, c.name), append(rule, "---:")
	}
	writeRow(w, names...)
	writeRow(w, rule...)
	for _, row := range rec.rows {
		cells := []string{row}
		for _, c := range rec.columns {
			cells = append(cells, rec.of(row, c.name).String())
		}
		writeRow(w, cells...)
	}
}

func writeRow(w io.Writer, cells ...string) {
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

// String returns the median with the least and the largest figure.
func (s series) String() string {
	low, high := s.span()
	if math.IsNaN(low) {
		return "failed"
	}
	if len(s) == 1 {
		return figure(low)
	}
	return fmt.Sprintf("%s (%s–%s)", figure(s.median()), figure(low), figure(high))
}

// figure returns three digits that matter.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// A goal is a figure, mostly a ratio of two lanes in the same round, and its bound.
type goal struct {
	what    string
	figures series
	control series // of one against itself, if that was measured
	bound   float64
	most    bool // the bound is from above
}

func (g goal) met() bool {
	m := g.figures.median() // NaN compares false
	if g.most {
		return m <= g.bound
	}
	return m >= g.bound
}

// writeGoals prints the goals, and whether they are met.
func writeGoals(w io.Writer, goals []goal) {
	fmt.Fprint(w, "\n## Goals\n\n")
	writeRow(w, "what", "median (min–max)", "95 % interval", "control", "goal", "")
	writeRow(w, "---", "---:", "---:", "---:", "---:", "---")
	for _, g := range goals {
		interval, control, sign, verdict := "", "", "≥", "NOT MET"
		if low, high, ok := g.figures.interval(); ok {
			interval = figure(low) + "–" + figure(high)
		}
		if len(g.control) > 0 {
			control = g.control.String()
		}
		if g.most {
			sign = "≤"
		}
		if g.met() {
			verdict = "met"
		}
		writeRow(w, g.what, g.figures.String(), interval, control, fmt.Sprintf("%s %s", sign, figure(g.bound)), verdict)
	}
}
