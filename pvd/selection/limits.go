package selection

import "time"

// The limits of the package. Each bounds memory or time that callers, or the network,
// could otherwise claim without end.
const (
	// MaxRequirements in one list: each is a bit of a 64-bit word, and two are taken.
	MaxRequirements = 62

	// MaxGroups that a policy orders, and MaxMembers of each. People write them.
	MaxGroups = 1024
	// MaxMembers is described with MaxGroups.
	MaxMembers = 1024

	// MaxRules of a manager: a few for each application of a large installation.
	MaxRules = 65536

	// MaxFailover is the length of the list of those that may be the system default.
	MaxFailover = 64

	// MaxAnswers that are remembered. The one that expires first makes room.
	MaxAnswers = 1024
	// MaxQuestions that are open at once; nobody answers more. Further calls fail.
	MaxQuestions = 16

	// MaxProviders of networks on demand.
	MaxProviders = 1024
	// MaxLeases that are out at once, as many as there may be PvDs.
	MaxLeases = 65536

	// maxNamed is how many PvDs an error names; a person reads no more.
	maxNamed = 8

	// maxSelectorBytes is the length of an application's name, domain, scope or link in a
	// rule, in octets: that of a domain name. Answers about longer ones are not remembered.
	maxSelectorBytes = 255
)

// Times, where a configuration has none of its own.
const (
	// AnswerTime is how long an answer is remembered: a working session.
	AnswerTime = 8 * time.Hour

	// HoldTime is how long a PvD has to be usable before the system default goes back to
	// it: a link that comes and goes does so within a few seconds.
	HoldTime = 10 * time.Second
	// MaxHoldTime is what a PvD's hold time, which doubles each time that it is lost as
	// the default, can grow to.
	MaxHoldTime = 5 * time.Minute

	// IdleTime is how long a network on demand stays open when nobody needs it: opening
	// one costs a few seconds and, on radio links, energy.
	IdleTime = 30 * time.Second
	// OpenTime is how long a provider may take to open its network, until the network can
	// be used: a telephone call or a login included.
	OpenTime = 2 * time.Minute
	// CloseTime is how long a provider may take to close its network, before it counts
	// as closed.
	CloseTime = 30 * time.Second

	// MinPeriod is the shortest time between the occasions of a periodic need. What is
	// needed more often is needed all the time.
	MinPeriod = time.Second
)
