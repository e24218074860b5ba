package dhcp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// ParseNames returns the domain names in b, one after the other, in lower case and without
// trailing dot. Compressed says whether labels may be pointers to earlier octets of b
// (RFC 3397 section 2); where they may not (RFC 8415 section 10), a pointer is an error.
// What comes after [MaxNames] is left out. The root and names that no host could look up
// are errors.
func ParseNames(b []byte, compressed bool) ([]string, error) {
	var names []string
	for off := 0; off < len(b) && len(names) < MaxNames; {
		name, next, err := parseName(b, off, compressed)
		if err != nil {
			return nil, fmt.Errorf("dhcp: name at octet %d: %w", off, err)
		}
		names = append(names, name)
		off = next
	}
	return names, nil
}

// parseName reads the name at off and returns where the next one begins.
func parseName(b []byte, off int, compressed bool) (name string, next int, err error) {
	var labels []string
	length, pointers := 0, 0
	for {
		if off >= len(b) {
			return "", 0, errors.New("cut short")
		}
		n := int(b[off])
		switch {
		case n == 0:
			if next == 0 {
				next = off + 1
			}
			name, err := checkedName(labels)
			return name, next, err
		case n&0xc0 == 0xc0 && compressed:
			if off+1 >= len(b) {
				return "", 0, errors.New("pointer cut short")
			}
			target := n&0x3f<<8 | int(b[off+1])
			if pointers++; target >= off || pointers > maxPointers {
				return "", 0, errors.New("pointer that does not lead back")
			}
			if next == 0 {
				next = off + 2
			}
			off = target
			continue
		case n > 63:
			return "", 0, fmt.Errorf("label type %#02x", n)
		case off+1+n > len(b):
			return "", 0, errors.New("label cut short")
		}
		if length += n + 1; length > 254 {
			return "", 0, errors.New("longer than 255 octets")
		}
		label := string(b[off+1 : off+1+n])
		if strings.ContainsRune(label, '.') {
			return "", 0, errors.New("dot in a label")
		}
		labels = append(labels, label)
		off += 1 + n
	}
}

func checkedName(labels []string) (string, error) {
	if len(labels) == 0 {
		return "", errors.New("the root")
	}
	return CheckName(strings.Join(labels, "."))
}

// CheckName returns a domain name written as text in lower case and without trailing dot,
// if it is one.
func CheckName(s string) (string, error) {
	id, err := pvd.ParseID(s)
	if err == nil && id == "" {
		err = errors.New("empty name")
	}
	return string(id), err
}
