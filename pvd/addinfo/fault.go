package addinfo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Reason is a kind of [Fault], in lower case, for counters and for people.
type Reason string

// Why there is no additional information, or no answer of a captive portal's API.
const (
	// BadName: the PvD's identifier, or the URL, names no host that can be asked.
	BadName Reason = "name"
	// Lookup: the host's name led to no address in the PvD.
	Lookup Reason = "lookup"
	// Unreachable: no connection could be made in the PvD.
	Unreachable Reason = "unreachable"
	// Timeout: the answer was not complete in time.
	Timeout Reason = "timeout"
	// NoRoots: there are no trust anchors to verify certificates with.
	NoRoots Reason = "no trust anchors"
	// Certificate: the server's certificate is not valid, or not for the name.
	Certificate Reason = "certificate"
	// TLS: the connection could not be secured for another reason.
	TLS Reason = "tls"
	// HTTP: the exchange broke off or was none of HTTP.
	HTTP Reason = "http"
	// BadStatus: the server answered with an error, or an unexpected status.
	BadStatus Reason = "status"
	// BadRedirect: there were too many redirections, or one that can not be followed.
	BadRedirect Reason = "redirect"
	// BadType: the answer is not marked with the media type that it must have.
	BadType Reason = "content type"
	// TooLarge: the answer is longer than MaxBody.
	TooLarge Reason = "too large"
	// BadJSON: the answer is not a JSON object as RFC 7493 (I-JSON) has it.
	BadJSON Reason = "json"
	// MissingKey: a key that is mandatory is not there.
	MissingKey Reason = "missing key"
	// BadValue: the value of a key is not what the key's definition wants.
	BadValue Reason = "value"
	// OtherID: the object is about another PvD.
	OtherID Reason = "identifier"
	// Expired: the object's date is not in the future.
	Expired Reason = "expired"
	// NotCovered: a prefix of the router advertisement is in none of the object's.
	NotCovered Reason = "not covered"
	// TooMany: there are more entries than the limit allows.
	TooMany Reason = "too many"
	// Unsupported: an entry asks for something that is not understood here.
	Unsupported Reason = "unsupported"
	// Cancelled: the caller has given up. It says nothing about the server.
	Cancelled Reason = "cancelled"
)

// A Fault says what is wrong with additional information, or with the answer of a captive
// portal's API. Text from the network is quoted and cut in it.
type Fault struct {
	Reason Reason
	Where  string // the key, element or host that it is about; may be empty
	Detail string // what is wrong, for people
	Err    error  // the cause, if another package knows it
}

// Error returns all of it in a line.
func (f *Fault) Error() string { return "addinfo: " + f.detail() }

// detail is Error without the package's name.
func (f *Fault) detail() string {
	var parts []string
	for _, s := range []string{f.Where, f.Detail} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if f.Err != nil {
		parts = append(parts, f.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Transient reports whether no server has been reached, so that asking again is no
// burden to one. All other failures are final for an attachment (RFC 8801 section 4.1).
func (f *Fault) Transient() bool {
	switch f.Reason {
	case Lookup, Unreachable, Cancelled:
		return true
	default:
		return false
	}
}

// ReasonOf returns the Reason of the Fault that err is or wraps, HTTP for another error,
// and "" for none.
func ReasonOf(err error) Reason { return faultOf(err).reason() }

func (f *Fault) reason() Reason {
	if f == nil {
		return ""
	}
	return f.Reason
}

// faultOf returns err as a Fault, nil if it is nil.
func faultOf(err error) *Fault {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Reason: HTTP, Err: err}
}

func faultf(r Reason, where, format string, args ...any) *Fault {
	return &Fault{Reason: r, Where: where, Detail: fmt.Sprintf(format, args...)}
}

// quote returns text from the network in a form that can be shown: escaped, in ASCII, and
// not longer than is of use.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
