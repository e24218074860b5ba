//go:build race

package stack_test

import "time"

// atOnce is within how long a blocked call has to return when what it stands on goes. The
// race detector makes everything several times slower.
const atOnce = 500 * time.Millisecond
