package stack

import "sync/atomic"

// A reason says what became of a frame.
type reason uint8

// The reasons, for frames that arrive on a link and for packets that a PvD sends. Every
// frame is counted under exactly one of them.
const (
	delivered        reason = iota // given to the PvD it was for
	deliveredCopies                // group traffic, given to every PvD concerned
	learned                        // given to the link's agent, for which alone it was
	dropLearning                   // likewise, but the agent has too many already
	dropMalformed                  // too short, or a header that contradicts itself
	dropVLAN                       // carries a VLAN tag: another network
	dropProtocol                   // neither IPv4, IPv6 nor ARP
	dropOtherMAC                   // to another station
	dropOwnMAC                     // from one of the link's own stations
	dropMartian                    // a source that no packet on a link may have
	dropNotOwned                   // to an address that no PvD has on this link
	dropNotJoined                  // to a group that no PvD has joined here
	dropUnknownMAC                 // to an address of several PvDs, from an unknown station
	dropChecksum                   // what the link vouched for contradicts itself
	dropLoopbackDst                // to 127/8, ::1 or 0/8, on a link
	dropCastMismatch               // a unicast packet in a group frame
	sent                           // left by the link
	dropBadSource                  // source is not the PvD's
	dropBadDest                    // destination never leaves a host
	dropNoRoute                    // no route leads there
	dropOtherPvD                   // to another PvD of this host on the same link
	dropNoNeighbor                 // the next hop does not answer
	dropHopQueue                   // too many packets wait for the next hop
	dropFull                       // the link could take no more in time
	dropSharedFlow                 // to where another PvD has an exchange with the same ends
	dropDown                       // the link is down
	dropSend                       // the link refused the frame
	numReasons
)

var reasonNames = [numReasons]string{
	delivered: "delivered", deliveredCopies: "delivered_group",
	learned: "learned", dropLearning: "learning_queue",
	dropMalformed: "malformed", dropVLAN: "vlan", dropProtocol: "protocol",
	dropOtherMAC: "other_station", dropOwnMAC: "own_station", dropMartian: "martian",
	dropNotOwned: "not_owned", dropNotJoined: "not_joined", dropUnknownMAC: "unknown_station",
	dropChecksum: "checksum", dropLoopbackDst: "loopback_in", dropCastMismatch: "cast_mismatch",
	sent: "sent", dropBadSource: "bad_source", dropBadDest: "bad_destination",
	dropNoRoute: "no_route", dropOtherPvD: "other_pvd", dropNoNeighbor: "no_neighbor",
	dropHopQueue: "neighbor_queue", dropFull: "link_full", dropSharedFlow: "shared_flow", dropDown: "link_down", dropSend: "send",
}

func (r reason) String() string { return reasonNames[r] }

type counters [numReasons]atomic.Uint64

func (c *counters) add(r reason) { c[r].Add(1) }

// count returns those counters that are not zero, by name.
func (c *counters) count() map[string]uint64 {
	m := make(map[string]uint64)
	for r := range c {
		if n := c[r].Load(); n != 0 {
			m[reason(r).String()] = n
		}
	}
	return m
}

// countFrames is count with the sum of all as "frames".
func (c *counters) countFrames() map[string]uint64 {
	m := c.count()
	var sum uint64
	for _, n := range m {
		sum += n
	}
	m["frames"] = sum
	return m
}

// Stats are a host's counters at one moment. Every frame that a link received is counted
// once in its link's map, and every packet that a PvD sent once in its PvD's.
type Stats struct {
	// Links holds, by link, what became of received frames, by reason. "frames" is how
	// many there were: the sum of all others.
	Links map[string]map[string]uint64

	// PvDs holds, by PvD and link, what became of packets to be sent, by reason. Of PvDs
	// that have one name, the later ones have their Ref added to it. Packets that wait for a
	// neighbour to answer are in no counter yet.
	PvDs map[string]map[string]map[string]uint64
}
