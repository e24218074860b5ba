//go:build !race

package pvdtest

// junkDatagrams come before the right answer in a test in real time.
const junkDatagrams = 10_000
