package socks5

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// Whoever adds a field to Config has to say here what its zero value becomes.
func TestConfigDefaults(t *testing.T) {
	n := &testNetwork{}
	got := Config{Network: n}.withDefaults()
	want := map[string]any{
		"Network":           n,
		"Users":             map[string]string(nil),
		"AllowPublic":       false,
		"Allow":             []netip.Prefix(nil),
		"HandshakeTimeout":  DefaultHandshakeTimeout,
		"DialTimeout":       DefaultDialTimeout,
		"IdleTimeout":       DefaultIdleTimeout,
		"MaxConns":          DefaultMaxConns,
		"MaxConnsPerClient": DefaultMaxConns * 3 / 4,
		"MaxHandshakes":     DefaultMaxHandshakes,
	}
	v := reflect.ValueOf(got)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		switch name {
		case "Select":
			if n2, err := got.Select(t.Context(), &Request{}); n2 != n || err != nil {
				t.Errorf("Select returns %v, %v", n2, err)
			}
		case "Logger", "Clock":
			if v.Field(i).IsZero() {
				t.Errorf("no %s", name)
			}
		default:
			w, ok := want[name]
			if !ok {
				t.Errorf("what is the default of %s?", name)
			}
			if !reflect.DeepEqual(v.Field(i).Interface(), w) {
				t.Errorf("%s is %v, want %v", name, v.Field(i), w)
			}
		}
	}
	if got := (Config{Network: n, MaxConns: 1}).withDefaults(); got.MaxConnsPerClient != 1 || got.MaxHandshakes != 1 {
		t.Errorf("with one connection: %+v", got)
	}
}

func TestConfigIsCopied(t *testing.T) {
	c := Config{Network: &testNetwork{}, Users: map[string]string{"a": "b"}, Allow: []netip.Prefix{loopback[0]}}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.Users["c"] = "d"
	c.Allow[0] = netip.Prefix{}
	if len(s.cfg.Users) != 1 || s.cfg.Allow[0] != loopback[0] {
		t.Error("the server shares memory with its Config")
	}
}

func TestConfigErrors(t *testing.T) {
	n := &testNetwork{}
	choose := func(context.Context, *Request) (Network, error) { return n, nil }
	for want, c := range map[string]Config{
		"no network":                          {},
		"both Network and Select":             {Network: n, Select: choose},
		"negative handshake timeout":          {Network: n, HandshakeTimeout: -1},
		"negative dial timeout":               {Network: n, DialTimeout: -1},
		"negative connection limit -1":        {Network: n, MaxConns: -1},
		"negative connection limit per":       {Network: n, MaxConnsPerClient: -1},
		"negative handshake limit":            {Network: n, MaxHandshakes: -1},
		`user name "": 0 octets`:              {Network: n, Users: map[string]string{"": "x"}},
		`password of user "x": 0 octets`:      {Network: n, Users: map[string]string{"x": ""}},
		`password of user "x": 256`:           {Network: n, Users: map[string]string{"x": strings.Repeat("x", 256)}},
		"allowed destination invalid":         {Network: n, Allow: []netip.Prefix{{}}},
		"allowed destination ::ffff:10.0.0.0": {Network: n, Allow: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one with %q", err, want)
		}
	}
}

func TestLimitsAreLoggedSparsely(t *testing.T) {
	clock := new(manualClock)
	var out strings.Builder
	s, err := New(Config{Network: &testNetwork{}, Clock: clock, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 100 {
		s.warn(&s.stats.overConns, "too many", "op", "accept")
	}
	clock.advance(logInterval)
	s.warn(&s.stats.overConns, "too many", "op", "accept")
	if got := strings.Count(out.String(), "\n"); got != 2 || !strings.Contains(out.String(), "times=101") {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
}
