//go:build !linux

package pvd

// isENONET is false: not every system has the number, and none but Linux gives it
// this meaning.
func isENONET(error) bool { return false }
