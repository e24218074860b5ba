//go:build race

package pvdtest

// junkDatagrams come before the right answer in a test in real time. The race detector makes
// them take ten times as long, which the resolver's schedule does not wait for.
const junkDatagrams = 1_000
