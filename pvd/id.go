package pvd

import (
	"errors"
	"fmt"
	"strings"
)

// An ID is the identifier of an explicit PvD: a fully qualified domain name
// (RFC 8801 section 3.1), without its trailing dot and in lower case. The empty ID
// is that of an implicit PvD. Make one with [ParseID].
//
// Two attachments may have the same ID and still be different PvDs (RFC 7556
// section 7.1): what refers to an attachment is a [Ref].
type ID string

// ParseID returns s as an ID. It accepts a trailing dot and any case, since RFC 8801
// section 3.1 compares names as RFC 4343 does. The empty string gives the empty ID.
func ParseID(s string) (ID, error) {
	if s == "" {
		return "", nil
	}
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("pvd: identifier %q: %w", s, err)
	}
	return ID(name), nil
}

// checkName applies the limits of RFC 1035 section 2.3.4 to a name without trailing dot.
func checkName(name string) error {
	if name == "" {
		return errors.New("empty name")
	}
	// One octet more for each label's length and for the root: 255 on the wire.
	if len(name)+2 > 255 {
		return errors.New("longer than 255 octets")
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("empty label")
		case len(label) > 63:
			return errors.New("label longer than 63 octets")
		}
		for i := range len(label) {
			c := label[i]
			if c <= ' ' || c >= 0x7f {
				return fmt.Errorf("octet %#02x in a label", c)
			}
		}
	}
	return nil
}
