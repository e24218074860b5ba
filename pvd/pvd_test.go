package pvd_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

func TestRef(t *testing.T) {
	for ref, want := range map[pvd.Ref]string{
		pvd.Unspecified: "unspecified", pvd.Null: "null", pvd.SystemDefault: "default", pvd.All: "all", 16: "pvd#16",
	} {
		if got := ref.String(); got != want {
			t.Errorf("%d: %q, want %q", uint64(ref), got, want)
		}
		if ref.Attached() != (ref == 16) {
			t.Errorf("%v: attached %v", ref, ref.Attached())
		}
	}
}

func TestParseID(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, tt := range []struct {
		in   string
		want pvd.ID
		err  string
	}{
		{in: "", want: ""},
		{in: "corp.example.com", want: "corp.example.com"},
		{in: "PvD.Example.coM.", want: "pvd.example.com"},
		{in: label + ".example", want: pvd.ID(label + ".example")},
		{in: label + "a.example", err: "63 octets"},
		{in: strings.Repeat(label+".", 4), err: "255 octets"},
		{in: "a..b", err: "empty label"},
		{in: ".", err: "empty name"},
		{in: "a b", err: "octet 0x20"},
		{in: "a\x00b", err: "octet 0x00"},
		{in: "café.example", err: "octet 0xc3"},
	} {
		got, err := pvd.ParseID(tt.in)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %q, %v; want %q, %q", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestErrNoPvD(t *testing.T) {
	err := &net.OpError{Op: "dial", Net: "tcp", Err: pvd.ErrNoPvD}
	if !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("not found as itself")
	}
	if enonet := syscall.Errno(64); enonet.Error() == "machine is not on the network" && !errors.Is(err, enonet) {
		t.Error("not found as ENONET")
	}
	if errors.Is(err, syscall.ENETUNREACH) {
		t.Error("found as ENETUNREACH")
	}
}

func TestContext(t *testing.T) {
	ctx := t.Context()
	if got := pvd.FromContext(ctx); got != pvd.Unspecified {
		t.Errorf("of a bare context: %v", got)
	}
	outer := pvd.NewContext(ctx, 17)
	inner, cancel := context.WithCancel(pvd.NewContext(outer, pvd.Unspecified))
	defer cancel()
	if a, b := pvd.FromContext(outer), pvd.FromContext(inner); a != 17 || b != pvd.Unspecified {
		t.Errorf("outer %v, inner %v", a, b)
	}
}

type tagged struct {
	net.Conn
	ref pvd.Ref
}

func (t tagged) PvD() pvd.Ref { return t.ref }

type wrapper struct{ net.Conn }

func (w wrapper) NetConn() net.Conn { return w.Conn }

type loop struct{ net.Conn }

func (l *loop) NetConn() net.Conn { return l }

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		want pvd.Ref
		ok   bool
	}{
		{"itself", tagged{ref: 20}, 20, true},
		{"through wrappers", wrapper{wrapper{tagged{ref: 20}}}, 20, true},
		{"reserved", tagged{ref: pvd.All}, pvd.All, false},
		{"nothing", 5, 0, false},
		{"nil", nil, 0, false},
		{"a wrapper of itself", &loop{}, 0, false},
		{"a wrapper of nothing", wrapper{}, 0, false},
	} {
		if got, ok := pvd.Of(tt.v); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %v, %v", tt.name, got, ok)
		}
	}
}

// A Ref is that of one host: to another one in the same process it is unknown.
func TestR5_RefOfAnotherHost(t *testing.T) {
	one, other := pvd.NewRegistry(pvd.RegistryConfig{}), pvd.NewRegistry(pvd.RegistryConfig{})
	defer one.Close()
	defer other.Close()
	ref := add(t, one, pvd.Config{Links: []string{"lan"}})
	if got := add(t, other, pvd.Config{Links: []string{"lan"}}); got == ref {
		t.Errorf("both are %v", got)
	}
	if _, err := other.Info(ref); !errors.Is(err, pvd.ErrNoPvD) {
		t.Errorf("another host's: %v", err)
	}
}
