//go:build !race

package stack_test

import "time"

// atOnce is within how long a blocked call has to return when what it stands on goes.
const atOnce = 100 * time.Millisecond
