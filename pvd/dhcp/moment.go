package dhcp

import (
	"math"
	"time"
)

// Never is the moment at which something ends that does not end.
const Never time.Duration = math.MaxInt64

// After returns the moment a number of seconds after now, [Never] for 0xffffffff, which
// stands for infinity (RFC 2131 section 3.3, RFC 8415 section 7.7).
func After(now time.Duration, seconds uint32) time.Duration {
	if seconds == math.MaxUint32 {
		return Never
	}
	return now + time.Duration(seconds)*time.Second
}
