package pvd

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// described returns the description of a PvD, as a registry publishes it.
func described(t *testing.T, id ID, name string) *Info {
	t.Helper()
	r := NewRegistry(RegistryConfig{})
	defer r.Close()
	ref, err := r.Add(context.Background(), func(b *Builder) { b.SetID(id); b.SetName(name) })
	if err != nil {
		t.Fatal(err)
	}
	i, err := r.Info(ref)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestR23_PolicyPermission(t *testing.T) {
	corp, home, nameless := described(t, "corp.example.com", "corp"), described(t, "", "home"), described(t, "", "")
	p := &Policy{
		Rules: []PolicyRule{
			{Apps: []string{"backup"}, PvDs: []string{"home"}, What: Allowed},
			{Apps: []string{"backup", "game*"}, PvDs: []string{"*"}, What: Denied},
			{Apps: []string{"browser"}, PvDs: []string{"Corp.Example.COM."}, What: Hidden},
			{Apps: []string{"mail"}, PvDs: []string{"corp"}, What: Denied},
			{Apps: []string{"vpn"}, PvDs: []string{"corp.example.COM", "home"}, What: Denied},
			{Apps: []string{"vpn"}, PvDs: []string{"corp"}, What: Allowed},
			{Apps: []string{"*"}, PvDs: []string{"home"}, What: Hidden},
		},
		NoBridge:   []string{"browser", "vpn-*"},
		SendAcross: []string{"router"},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		app  string
		i    *Info
		want Permission
	}{
		{"backup", home, Allowed}, // the first rule that fits
		{"backup", corp, Denied},
		{"backup", nameless, Denied},
		{"game", corp, Denied},
		{"game-of-life", home, Denied},
		{"gam", corp, Allowed},
		{"browser", corp, Hidden},
		{"browser", nameless, Allowed}, // the default
		{"browser", home, Hidden},
		{"mail", corp, Denied},
		{"vpn", corp, Denied}, // the first one, by whatever it calls the PvD
		{"", home, Hidden},
		{"", corp, Allowed},
	} {
		if got := p.Permission(tt.app, tt.i); got != tt.want {
			t.Errorf("%q in %v: %v, want %v", tt.app, tt.i.Name(), got, tt.want)
		}
		permits := p.Permits(tt.app)
		if got := permits == nil || permits(nil); got != (p.Permission(tt.app, nil) == Allowed) {
			t.Errorf("%q in what is not known: permitted %v", tt.app, got)
		}
		if got := permits == nil || permits(tt.i); got != (tt.want == Allowed) {
			t.Errorf("%q in %v: permitted %v, want %v", tt.app, tt.i.Name(), got, tt.want)
		}
	}
	if p.Permits("mail") == nil || p.Permits("backup") == nil {
		t.Error("there is something that they may not use")
	}
	p.Default = Hidden
	if got := p.Permission("browser", nameless); got != Hidden {
		t.Errorf("by default %v", got)
	}
	for app, want := range map[string]bool{"browser": false, "vpn-1": false, "vpn": true, "": true} {
		if got := p.MayBridge(app); got != want {
			t.Errorf("%q may bridge: %v", app, got)
		}
	}
	if p.MaySendAcross("browser") || !p.MaySendAcross("router") {
		t.Error("who may send across")
	}
}

// TestR23_PolicyPermitsAll holds that nobody is asked about each PvD for an application that
// may use all of them.
func TestR23_PolicyPermitsAll(t *testing.T) {
	p := &Policy{Rules: []PolicyRule{
		{Apps: []string{"game"}, PvDs: []string{"corp"}, What: Denied},
		{Apps: []string{"mail"}, PvDs: []string{"corp"}, What: Allowed},
		{Apps: []string{"root"}, PvDs: []string{"*"}, What: Allowed},
		{Apps: []string{"root"}, PvDs: []string{"corp"}, What: Denied}, // never comes to that
	}}
	for app, all := range map[string]bool{"game": false, "mail": true, "root": true, "": true} {
		if got := p.Permits(app) == nil; got != all {
			t.Errorf("%q may use all: %v", app, got)
		}
	}
	if (*Policy)(nil).Permits("game") != nil {
		t.Error("no policy forbids something")
	}
	p.Default = Denied
	permits := p.Permits("mail")
	if permits == nil || permits(described(t, "", "home")) || !permits(described(t, "", "corp")) || p.Permits("root") != nil {
		t.Error("by default")
	}
}

// TestR23_PolicyZero holds that the zero Policy, and none, allow every PvD, but sending
// across PvDs only to those who are named.
func TestR23_PolicyZero(t *testing.T) {
	i := described(t, "corp.example.com", "corp")
	for _, p := range []*Policy{nil, {}} {
		if p.Permission("x", i) != Allowed || !p.MayBridge("x") || p.MaySendAcross("x") || p.Validate() != nil {
			t.Errorf("%v", p)
		}
	}
	if (*Policy)(nil).Clone() != nil {
		t.Error("a copy of nothing is something")
	}
}

func TestPolicyClone(t *testing.T) {
	i := described(t, "corp.example.com", "corp")
	p := &Policy{
		Rules:    []PolicyRule{{Apps: []string{"a"}, PvDs: []string{"corp"}, What: Hidden}},
		NoBridge: []string{"a"}, SendAcross: []string{"a"},
	}
	c := p.Clone()
	p.Rules[0].Apps[0], p.Rules[0].PvDs[0], p.Rules[0].What = "b", "home", Allowed
	p.NoBridge[0], p.SendAcross[0] = "b", "b"
	if c.Permission("a", i) != Hidden || c.MayBridge("a") || !c.MaySendAcross("a") {
		t.Errorf("the copy followed: %+v", c)
	}
}

func TestPolicyValidate(t *testing.T) {
	all := []string{"*"}
	rule := func(apps, pvds []string, what Permission) *Policy {
		return &Policy{Rules: []PolicyRule{{all, all, Allowed}, {apps, pvds, what}}}
	}
	many := make([]string, MaxPolicyNames+1)
	for i := range many {
		many[i] = fmt.Sprint("a", i)
	}
	for _, tt := range []struct {
		p    *Policy
		want string
	}{
		{&Policy{Default: 3}, "default: permission 3"},
		{rule(all, all, 9), "rule 2: permission 9"},
		{rule(nil, all, Denied), "rule 2: it is about no application"},
		{rule(all, nil, Denied), "rule 2: it is about no application or no PvD"},
		{rule([]string{"a*b"}, all, Denied), `rule 2: applications: pattern "a*b"`},
		{rule([]string{"**"}, all, Denied), `pattern "**"`},
		{rule([]string{""}, all, Denied), "empty name"},
		{rule(all, []string{"corp*"}, Denied), `rule 2: PvDs: "corp*" is no pattern`},
		{rule(all, []string{""}, Denied), "empty name"},
		{rule(all, []string{strings.Repeat("x", MaxName+1)}, Denied), "longer than 255 octets"},
		{rule(many, all, Denied), "1025 names"},
		{&Policy{NoBridge: []string{"a**"}}, "no bridge"},
		{&Policy{SendAcross: []string{"*a"}}, "send across"},
		{&Policy{Rules: make([]PolicyRule, MaxPolicyRules+1)}, "1025 rules"},
	} {
		err := tt.p.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "policy: ") {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	full := rule(many[1:], many[1:], Hidden)
	full.Rules = append(full.Rules, make([]PolicyRule, MaxPolicyRules-2)...)
	for i := range full.Rules[2:] {
		full.Rules[2+i] = PolicyRule{Apps: all, PvDs: []string{"corp"}}
	}
	if err := full.Validate(); err != nil {
		t.Errorf("at the limits: %v", err)
	}
	if s := Hidden.String() + Denied.String() + Allowed.String(); s != "hiddendeniedallowed" {
		t.Error(s)
	}
}
