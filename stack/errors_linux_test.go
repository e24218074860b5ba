package stack_test

import (
	"syscall"
	"testing"
)

// TestNoPvDIsENONET: Linux has a number for it.
func TestNoPvDIsENONET(t *testing.T) {
	n := newHost(t).In(12345)
	wantOpError(t, dialErr(t.Context(), n, "tcp", "10.0.0.9:80"), syscall.ENONET)
	wantOpError(t, listenErr(t.Context(), n, "udp", ":0"), syscall.ENONET)
}
