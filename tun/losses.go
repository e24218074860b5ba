package tun

// Losses are the frames that a link has lost since it was opened, by reason. Frames that
// Send refused are not among them: its caller knows.
type Losses struct {
	TooLong uint64 // received, but longer than the bufs of Recv
	Invalid uint64 // received, with a request for offload that Meta can not express
	Overrun uint64 // lost by the operating system because Recv came too late for them
	Down    uint64 // accepted by Send, but the link went down or was closed before they left
}

// A LossCounter is a link that counts the frames it loses.
type LossCounter interface {
	Losses() Losses
}
