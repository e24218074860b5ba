//go:build !race

package stack_test

// bulkSize is how many octets a bulk transfer moves.
const bulkSize = 64 << 20
