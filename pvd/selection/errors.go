package selection

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// A NoneError says that no PvD fulfils requirements, and why. errors.Is finds ENETUNREACH
// in it.
type NoneError struct {
	Musts      Requirements // what had to be fulfilled
	Candidates []Candidate  // those who were there, in order of attachment
}

// A Candidate is a PvD, or a network that could be opened, that was not chosen.
type Candidate struct {
	Ref   pvd.Ref // Unspecified for one that is not open
	Name  string
	Lacks Requirements // the musts that it does not fulfil
}

// Error implements error.
func (e *NoneError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "selection: no PvD fulfils: %v", e.Musts)
	if len(e.Candidates) == 0 {
		b.WriteString("; there is none at all")
	}
	for i, c := range e.Candidates {
		if i == maxNamed {
			fmt.Fprintf(&b, "; and %d more", len(e.Candidates)-maxNamed)
			break
		}
		fmt.Fprintf(&b, "; %s does not: %v", c.Name, c.Lacks)
	}
	return b.String()
}

// Is reports whether target is what a network without a route gives.
func (e *NoneError) Is(target error) bool { return target == syscall.ENETUNREACH }

// Errors of a [Manager].
var (
	// ErrPreempted: the network had to be closed for a request of higher priority.
	ErrPreempted = errors.New("selection: preempted by a request of higher priority")

	// ErrReleased: the lease was given back.
	ErrReleased = errors.New("selection: the lease was released")

	// ErrBusy: a limit was reached, or a resource is in use by a request of equal or
	// higher priority.
	ErrBusy = errors.New("selection: busy")

	// ErrClosed: the manager was closed.
	ErrClosed = errors.New("selection: manager closed")

	// ErrNoAnswer: there was a question and nobody to answer it, or the answer was not
	// among the choices.
	ErrNoAnswer = errors.New("selection: no answer")
)
