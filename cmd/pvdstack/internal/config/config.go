// Package config reads the daemon's configuration, a YAML file, and says what is wrong
// with it: every fault at once, each as file:line:column, what is wrong and what would be
// right. It touches nothing but the file.
//
// A file is read in two steps: its text into raw values that keep their positions, and
// these into the types below, which hold only what has been found to be consistent.
// What only the running system can tell, such as whether an interface exists, is left to
// it.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/selection"
	"github.com/pvdstack/pvdstack/pvd/steer"
)

// A Config is a whole configuration that has been found to be consistent.
type Config struct {
	File    string  // its name, for messages
	Links   []Link  // in the file's order, names unique
	PvDs    []PvD   // in the file's order, names unique
	Default string  // the name of one of PvDs, or [Config.IsLearned]; empty: none, or the first of Failover that can be used
	Proxies []Proxy // in the file's order
	Stubs   []Stub  // in the file's order
	Steer   Steer   // the zero Steer: names choose no PvD

	// Learned are the PvDs that are to be learned, as far as the file names them, in its
	// order. Their names are unique, also among those of PvDs.
	Learned []Learned

	// Learn are the rules for what links learn, those of Learned included.
	Learn learn.Rules

	// State is a directory for what is to be known after a restart. Empty: nothing is kept.
	State string

	// Roots is a file with the trust anchors for additional information, in PEM, and
	// RootsAt is where it is named. Empty: the system's.
	Roots   string
	RootsAt Position

	// Failover are such names, the preferred one first, of which the default is the
	// first that can be used. Nil: the default does not change.
	Failover []string

	// Rules choose the PvDs of requests by apps. Of several that a request meets, the first
	// one counts; without one it is the default.
	Rules []Rule

	// Policy is what apps may do. Nil: everything.
	Policy *pvd.Policy

	Log Log
}

// A LinkType says where a link's frames come from.
type LinkType string

// The types of links.
const (
	TUN    LinkType = "tun"    // a TUN device that is made: IP packets
	TAP    LinkType = "tap"    // a TAP device that is made: Ethernet frames
	Packet LinkType = "packet" // an AF_PACKET socket on an interface that exists
	FD     LinkType = "fd"     // a descriptor that the daemon was started with
)

// A Layer says what a link's frames begin with.
type Layer string

// The layers.
const (
	IP       Layer = "ip"
	Ethernet Layer = "ethernet"
)

// A Link is a link to open.
type Link struct {
	Name string
	Type LinkType

	// Device is the name that a TUN or TAP device gets.
	Device string
	// Interface is the interface that a Packet link is on.
	Interface string
	// InterfaceMAC says that all PvDs on a Packet link use the interface's hardware
	// address, rather than each one of its own.
	InterfaceMAC bool
	// FD is the descriptor of an FD link.
	FD int
	// Layer says what the frames of an FD link begin with; empty: what the device says.
	Layer Layer
	// VNetHdr says that a virtio_net_hdr goes before each frame of an FD link.
	VNetHdr bool
	// MTU in octets of a TUN, TAP or FD link. 0: the type's default.
	MTU int
	// Host is the kernel's side of a TUN or TAP device.
	Host HostSide
	// Discover is what is learned on the link. The zero Discover is nothing.
	Discover Discover
}

// A Discover says how the PvDs of a link are learned.
type Discover struct {
	RA, DHCP4, DHCP6 bool
	Temporary        bool // temporary addresses
	Prefixes         bool // delegated prefixes
	IPv6Only         bool // no IPv4 where the network can do without
	Information      bool // additional information, and the state of captive portals
}

// A HostSide is what the kernel's side of a device gets while the daemon runs.
type HostSide struct {
	Addresses []netip.Prefix // the kernel's own addresses
	Bridge    string         // an existing bridge to join; empty: none
}

// A PvD is a provisioning domain to attach.
type PvD struct {
	Name   string
	Config pvd.Config // its Name is set too
	At     Position   // where it is in the file
}

// A Learned is a PvD that the network makes.
type Learned struct {
	Name string
	ID   pvd.ID   // empty: implicit
	At   Position // where it is in the file
}

// IsLearned reports whether a name that the file has where PvDs are named is not that of one
// of PvDs: it is of Learned, or else the ID of a PvD that may be learned. Such a PvD may not
// be there.
func (c *Config) IsLearned(name string) bool {
	return !slices.ContainsFunc(c.PvDs, func(p PvD) bool { return p.Name == name })
}

// FindPvD returns an error that says so if a name is not that of a PvD that is attached or
// may be learned.
func (c *Config) FindPvD(name string) error {
	var names []string
	for _, p := range c.PvDs {
		names = append(names, p.Name)
	}
	for _, p := range c.Learned {
		names = append(names, p.Name)
	}
	id, err := pvd.ParseID(name)
	learnable := err == nil && strings.Contains(string(id), ".") && slices.ContainsFunc(c.Links, func(l Link) bool { return l.Discover.RA })
	if slices.Contains(names, name) || learnable {
		return nil
	}
	return fmt.Errorf("there is no PvD %s in %s%s", quote(name), c.File, hint(name, names))
}

// A Rule says which PvD some requests get.
type Rule struct {
	selection.Rule // its conditions; the Action is what follows

	PvD    string                 // the name of one of PvDs, [Config.IsLearned], or SystemDefault
	Refuse bool                   // they fail
	Choose selection.Requirements // where there is no PvD and no Refuse
	OrNext bool                   // where nothing fulfils Choose, the next rule counts
}

// SystemDefault stands for the default in place of a PvD's name.
const SystemDefault = "default"

// A Proxy is a SOCKS5 proxy to offer. One of PvD and App is set.
type Proxy struct {
	Listen netip.AddrPort    // port 0: the system picks one
	PvD    string            // the name of one of PvDs, [Config.IsLearned], or SystemDefault
	App    string            // the application that its clients are
	Mark   uint32            // of its requests, for rules
	ToS    uint8             // of its packets, and for rules
	Users  map[string]string // passwords by user name; nil: no authentication
	Allow  []netip.Prefix    // destinations let through although refused by default

	HandshakeTimeout time.Duration // 0: the proxy's default, as in all that follow
	DialTimeout      time.Duration
	IdleTimeout      time.Duration
	MaxConns         int // clients at once
	MaxPerClient     int // clients at once from one address
	MaxHandshakes    int // clients at once that have not made their request
}

// Of says what the proxy leads to: `PvD "corp"`, "the default" or `app "browser"`.
func (p Proxy) Of() string {
	switch {
	case p.App != "":
		return "app " + strconv.Quote(p.App)
	case p.PvD == SystemDefault:
		return "the default"
	}
	return "PvD " + strconv.Quote(p.PvD)
}

// A Stub is a DNS server to offer. One of PvD and App is set.
type Stub struct {
	Listen netip.AddrPort // for UDP and TCP; port 0: the system picks one
	PvD    string         // the name of one of PvDs, [Config.IsLearned], or SystemDefault
	App    string         // the application that its clients are
}

// Of says whose names the server knows, as [Proxy.Of] does.
func (s Stub) Of() string { return Proxy{PvD: s.PvD, App: s.App}.Of() }

// A Steer says which names choose a PvD, for requests that name none.
type Steer struct {
	Table []steer.Entry // each for one of PvDs or [Config.IsLearned]
	Trust []string      // of which learned PvDs the claims to names count
}

// Log says what is logged and how.
type Log struct {
	Level slog.Level
	JSON  bool // JSON lines rather than text
}

// Load reads the file at path; "-" reads stdin. The error is Faults where the file could
// be read and what it says is wrong.
func Load(path string, stdin io.Reader) (*Config, error) {
	r := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		defer f.Close()
		r = f
	}
	// One octet more than Parse takes, so that it sees what is too long.
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", path, err)
	}
	return Parse(path, text)
}

// Parse reads a configuration. The file's name is used in messages only. The error is of
// type Faults.
func Parse(file string, text []byte) (*Config, error) {
	fs := &faultList{file: file}
	root := parseText(fs, text)
	var raw rawFile
	if root != nil {
		raw = readFile(&reader{fs}, root)
	}
	// A file with the wrong shape is still checked, so that all faults show at once;
	// what could not be read is left out of the check.
	var c *Config
	if root != nil {
		c = check(fs, &raw)
	}
	if err := fs.err(); err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errors.New("config: internal error: neither a configuration nor a fault")
	}
	return c, nil
}
