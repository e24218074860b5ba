package acd

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	me   = [6]byte{2, 0, 0, 0, 0, 1}
	them = [6]byte{2, 0, 0, 0, 0, 2}
	addr = netip.MustParseAddr("192.0.2.7")
)

type sent struct {
	at time.Duration
	ARP
}

// run advances m until a moment and returns what it sent.
func run(m *Machine, until time.Duration) (all []sent) {
	for {
		at, ok := m.Next()
		if !ok || at > until {
			return all
		}
		m.Advance(at)
		for _, a := range m.Take() {
			all = append(all, sent{at, a})
		}
	}
}

func TestProbesAndAnnouncements(t *testing.T) {
	for seed := range uint64(200) {
		m := New(0, me, addr, rand.NewPCG(seed, 0))
		all := run(m, time.Hour)
		if len(all) != probeNum+announceNum {
			t.Fatalf("sent %d packets: %v", len(all), all)
		}
		if all[0].at > probeWait {
			t.Errorf("first probe at %v", all[0].at)
		}
		for i, a := range all {
			want := ARP{Op: Request, SenderMAC: me, SenderIP: netip.IPv4Unspecified(), TargetIP: addr}
			least, most := probeMin, probeMax
			if i >= probeNum {
				want.SenderIP, least, most = addr, announceWait, announceWait
			}
			if a.ARP != want {
				t.Errorf("packet %d is %+v, want %+v", i, a.ARP, want)
			}
			if i > 0 {
				if d := a.at - all[i-1].at; d < least || d > most {
					t.Errorf("packet %d comes %v after the one before, want %v to %v", i, d, least, most)
				}
			}
		}
		if m.State() != Defending {
			t.Errorf("state %v", m.State())
		}
	}
}

func TestNotUsableWhileProbing(t *testing.T) {
	m := New(0, me, addr, rand.NewPCG(1, 0))
	for m.State() == Probing {
		at, _ := m.Next()
		if m.State().Usable() {
			t.Fatal("usable while probing")
		}
		m.Advance(at)
	}
	if !m.State().Usable() {
		t.Errorf("state %v is not usable", m.State())
	}
}

func TestConflicts(t *testing.T) {
	unspec := netip.IPv4Unspecified()
	other := netip.MustParseAddr("192.0.2.8")
	tests := []struct {
		name   string
		a      ARP
		probes bool // a conflict while probing
		uses   bool // a conflict once in use
	}{
		{"reply of who has it", ARP{Op: Reply, SenderMAC: them, SenderIP: addr, TargetIP: unspec}, true, true},
		{"request of who has it", ARP{Op: Request, SenderMAC: them, SenderIP: addr, TargetIP: other}, true, true},
		{"another's probe", ARP{Op: Request, SenderMAC: them, SenderIP: unspec, TargetIP: addr}, true, false},
		{"own probe, looped", ARP{Op: Request, SenderMAC: me, SenderIP: unspec, TargetIP: addr}, false, false},
		{"a request for it", ARP{Op: Request, SenderMAC: them, SenderIP: other, TargetIP: addr}, false, false},
		{"of others", ARP{Op: Reply, SenderMAC: them, SenderIP: other, TargetIP: other}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := New(0, me, addr, rand.NewPCG(1, 0))
			m.Receive(0, tt.a)
			if got := m.State() == Conflict; got != tt.probes {
				t.Errorf("while probing: state %v", m.State())
			}
			if tt.probes && m.Enemy() != them {
				t.Errorf("enemy %x", m.Enemy())
			}
			m = New(0, me, addr, rand.NewPCG(1, 0))
			run(m, time.Minute)
			m.Receive(time.Minute, tt.a)
			if got := len(m.Take()) == 1; got != tt.uses {
				t.Errorf("in use: defended %v, want %v", got, tt.uses)
			}
		})
	}
}

func TestDefence(t *testing.T) {
	attack := ARP{Op: Request, SenderMAC: them, SenderIP: addr, TargetIP: addr}
	m := New(0, me, addr, rand.NewPCG(1, 0))
	run(m, time.Minute)
	now := time.Minute
	for range 3 { // each is defended against, as long as they are far apart
		now += defendInterval
		m.Receive(now, attack)
		if out := m.Take(); len(out) != 1 || out[0].SenderIP != addr || !m.State().Usable() {
			t.Fatalf("at %v: sent %v, state %v", now, out, m.State())
		}
	}
	m.Receive(now+defendInterval-1, attack)
	if m.State() != Conflict || len(m.Take()) != 0 {
		t.Errorf("state %v after a second attack within %v", m.State(), defendInterval)
	}
	if _, ok := m.Next(); ok {
		t.Error("a machine in conflict wants to go on")
	}
	m.Restart(now)
	if m.State() != Probing {
		t.Errorf("state %v after Restart", m.State())
	}
}

// TestLate: a sleep between probes does not send them in a burst.
func TestLate(t *testing.T) {
	m := New(0, me, addr, rand.NewPCG(1, 0))
	m.Advance(time.Hour)
	if n := len(m.Take()); n != 1 {
		t.Errorf("sent %d probes at once", n)
	}
	if at, _ := m.Next(); at < time.Hour+probeMin {
		t.Errorf("next probe at %v", at)
	}
}

func FuzzParse(f *testing.F) {
	good := ARP{Op: Reply, SenderMAC: them, SenderIP: addr, TargetMAC: me, TargetIP: addr}.Append(nil)
	f.Add(good)
	f.Add(good[:27])
	f.Add(append(good, make([]byte, 18)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		if err != nil {
			return
		}
		if again := a.Append(nil); string(again) != string(b[:Len]) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// TestParse reads what it has written, and refuses what is no ARP of IPv4 over Ethernet.
func TestParse(t *testing.T) {
	want := ARP{Op: Reply, SenderMAC: them, TargetMAC: me, SenderIP: addr, TargetIP: addr.Next()}
	b := append(want.Append(nil), make([]byte, 18)...) // padded as Ethernet has it
	if got, err := Parse(b); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"short":            func(b []byte) []byte { return b[:Len-1] },
		"hardware":         func(b []byte) []byte { b[1] = 6; return b },
		"protocol":         func(b []byte) []byte { b[3] = 1; return b },
		"hardware length":  func(b []byte) []byte { b[4] = 8; return b },
		"protocol length":  func(b []byte) []byte { b[5] = 16; return b },
		"operation 0":      func(b []byte) []byte { b[7] = 0; return b },
		"reverse ARP":      func(b []byte) []byte { b[7] = 3; return b },
		"operation of 256": func(b []byte) []byte { b[6] = 1; return b },
	} {
		if a, err := Parse(change(want.Append(nil))); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestEarly calls before it is time, and after all is done.
func TestEarly(t *testing.T) {
	m := New(0, me, addr, rand.NewPCG(1, 1))
	at, _ := m.Next()
	m.Advance(at - 1)
	if out := m.Take(); len(out) != 0 {
		t.Errorf("sent %v too soon", out)
	}
	run(m, time.Hour)
	m.Advance(2 * time.Hour)
	if out := m.Take(); len(out) != 0 || m.State() != Defending {
		t.Errorf("in %v sent %v", m.State(), out)
	}
}

func TestStateNames(t *testing.T) {
	seen := map[string]bool{}
	for s := Probing; s <= Conflict+1; s++ {
		seen[s.String()] = true
	}
	if len(seen) != int(Conflict)+2 {
		t.Errorf("%d names: %v", len(seen), seen)
	}
}
