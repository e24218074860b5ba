//go:build !linux

package stack

import "time"

// suspended is not known here.
var suspended func() time.Duration
