package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Position is a place in the file, both from 1. Columns count characters.
type Position struct {
	Line, Column int
}

// A Fault is one thing wrong with a file.
type Fault struct {
	File string
	Position
	Message string // what is wrong, and what would be right
}

// Error returns "file:line:column: message".
func (f *Fault) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}

// Faults are all faults of a file in the order of their positions, at least one.
type Faults []*Fault

// Error returns one line for each fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// A faultList collects faults.
type faultList struct {
	file string
	list Faults
}

// add notes a fault at p.
func (l *faultList) add(p Position, format string, args ...any) {
	l.list = append(l.list, &Fault{File: l.file, Position: p, Message: fmt.Sprintf(format, args...)})
}

// err returns the faults in order as Faults, nil if there are none.
func (l *faultList) err() error {
	if len(l.list) == 0 {
		return nil
	}
	slices.SortStableFunc(l.list, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if more := len(l.list) - maxFaults; more > 0 {
		last := l.list[maxFaults]
		l.list = append(l.list[:maxFaults:maxFaults],
			&Fault{l.file, last.Position, fmt.Sprintf("%d more from here on: mend those above first", more)})
	}
	return l.list
}

// cut returns s for a message, of a length that can be read.
func cut(s string) string {
	if r := []rune(s); len(r) > maxQuoted {
		return string(r[:maxQuoted]) + "…"
	}
	return s
}

// quote returns s in quotes for a message.
func quote(s string) string { return strconv.Quote(cut(s)) }

// oneOf returns words as a choice: `"a", "b" or "c"`.
func oneOf(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	if n := len(quoted); n > 1 {
		return strings.Join(quoted[:n-1], ", ") + " or " + quoted[n-1]
	}
	return strings.Join(quoted, "")
}

// hint returns `: did you mean "x"?` for the one of words that word is a slip of, and
// otherwise the choice among words, if there are few enough to tell.
func hint(word string, words []string) string {
	if len(words) == 0 {
		return ""
	}
	best, least := "", 3
	for _, w := range words {
		if d := distance(strings.ToLower(word), strings.ToLower(w), least); d < least && d < len(w) {
			best, least = w, d
		}
	}
	switch {
	case best != "":
		return ": did you mean " + quote(best) + "?"
	case len(words) <= 12:
		return ": want " + oneOf(words)
	}
	return ""
}

// distance returns the number of characters to insert, delete or replace that make a
// into b (Levenshtein's distance), or at least limit where it is not less than that.
func distance(a, b string, limit int) int {
	ra, rb := []rune(a), []rune(b)
	if len(ra)-len(rb) >= limit || len(rb)-len(ra) >= limit {
		return limit
	}
	row := make([]int, len(rb)+1)
	for j := range row {
		row[j] = j
	}
	for i, ca := range ra {
		diagonal := row[0]
		row[0] = i + 1
		for j, cb := range rb {
			d := diagonal
			if ca != cb {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j]+1, diagonal+1)
		}
	}
	return row[len(rb)]
}
