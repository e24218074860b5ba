package ra

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// parseName decodes the name that b begins with, in the format of RFC 1035 section 3.1
// without compression, and says how many octets it takes. The root is not accepted.
func parseName(b []byte) (pvd.ID, int, error) {
	var name strings.Builder
	for at := 0; at < len(b); {
		n := int(b[at])
		at++
		switch {
		case n == 0:
			if name.Len() == 0 {
				return "", 0, errors.New("empty name")
			}
			id, err := pvd.ParseID(name.String())
			return id, at, err
		case n > 63:
			return "", 0, fmt.Errorf("label of type %#02x: compressed, or unknown", n&0xc0)
		case n > len(b)-at:
			return "", 0, errors.New("name without end")
		case name.Len()+n > 255:
			return "", 0, errors.New("name longer than 255 octets")
		}
		label := string(b[at : at+n])
		if strings.ContainsRune(label, '.') {
			return "", 0, fmt.Errorf("label %q: a dot in it", label)
		}
		if name.Len() > 0 {
			name.WriteByte('.')
		}
		name.WriteString(label)
		at += n
	}
	return "", 0, errors.New("name without end")
}

// appendName encodes a name that is not empty.
func appendName(b []byte, id pvd.ID) []byte {
	for label := range strings.SplitSeq(string(id), ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}
