// Package addrsel chooses source addresses and orders destinations by the rules of
// RFC 6724, for each PvD by a policy of its own: [Config] says what it is, [Selector]
// applies it. It knows nothing of routes; who calls it says which sources there are, and
// what they have to do with the way that was chosen.
package addrsel
