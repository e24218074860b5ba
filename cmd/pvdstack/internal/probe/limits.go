package probe

const (
	// maxFrames wait to be looked at: a second's worth of the busiest link's advertisements
	// and requests.
	maxFrames = 256

	// maxHeard is how many senders are told of, each with what it said last.
	maxHeard = 64
)
