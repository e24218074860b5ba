package pvd

import (
	"strconv"
	"strings"
)

// A Ref refers to one attachment of a PvD to a host. It is constant while the PvD is
// attached and is never used again in the same process, nor by another host in it: a PvD
// that goes and returns has a new Ref, even under the same [ID]. A Ref is an opaque token; only equality
// has a meaning.
//
// The values below are reserved (draft-kline-mif-mpvd-api-reqs-00, sections 3.2 and 3.3).
type Ref uint64

const (
	// Unspecified asks for no PvD in particular: the next coarser scope decides
	// (call, socket, context, App, system default). It is the zero Ref.
	Unspecified Ref = 0

	// Null is the PvD that has nothing: every operation in it fails at once.
	Null Ref = 1

	// SystemDefault means whichever PvD is the system's default at the time of the
	// operation.
	SystemDefault Ref = 2

	// All means every PvD, present and future. It is accepted for listening only.
	All Ref = 3

	// firstRef is the first value given to an attachment; those below are reserved.
	firstRef Ref = 16
)

// Attached reports whether r is of the kind that names one attachment, that is,
// not a reserved value. It does not say that the PvD is still there.
func (r Ref) Attached() bool { return r >= firstRef }

// String returns a short form for logs: a reserved value's name, or "pvd#" and the number.
func (r Ref) String() string {
	switch r {
	case Unspecified:
		return "unspecified"
	case Null:
		return "null"
	case SystemDefault:
		return "default"
	case All:
		return "all"
	default:
		return refPrefix + strconv.FormatUint(uint64(r), 10)
	}
}

const refPrefix = "pvd#"

// parseRef returns the attachment whose String is s.
func parseRef(s string) (Ref, bool) {
	digits, ok := strings.CutPrefix(s, refPrefix)
	if !ok {
		return Unspecified, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	r := Ref(n)
	return r, err == nil && r.Attached() && r.String() == s
}
