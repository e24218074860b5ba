//go:build race

package stack_test

// bulkSize is how many octets a bulk transfer moves. The race detector makes everything
// several times slower.
const bulkSize = 8 << 20
