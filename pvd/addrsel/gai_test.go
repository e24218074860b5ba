package addrsel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// What gai.conf(5) of the GNU C library has as its own example, all in comments but one.
const gaiConf = `# Configuration for getaddrinfo(3).
#
# label   <mask>   <value>
label ::1/128       0
label ::/0          1
label 2002::/16     2
label ::/96         3
label ::ffff:0:0/96 4	# IPv4
#label fec0::/10     5
precedence  ::1/128       50
precedence  ::/0          40
precedence  2002::/16     30
precedence ::/96          20
precedence ::ffff:0:0/96  100
scopev4 ::ffff:169.254.0.0/112  2
scopev4 127.0.0.0/8 2
scopev4 ::ffff:0.0.0.0/96       14
reload  yes
`

func TestP44_GAI(t *testing.T) {
	type values map[string]string // precedence, label and scope
	for _, tt := range []struct {
		name, text string
		reload     bool
		want       values
	}{
		{"empty", "", false, values{"10.0.0.1": "35 4 14", "fd00::1": "3 13 14", "127.0.0.1": "35 4 2"}},
		{"comments", "# label ::/0 7\n\n   \t# x\n", false, values{"2001:db8::1": "40 1 14"}},
		{"glibc's example", gaiConf, true, values{
			"::1": "50 0 2", "2001:db8::1": "40 1 14", "2002::1": "30 2 14", "::7:1": "20 3 14", "10.0.0.1": "100 4 14",
			"169.254.1.1": "100 4 2", "fec0::1": "40 1 5", "fd00::1": "40 1 14", "2001::1": "40 1 14",
		}},
		// The well-known way to prefer IPv4: it replaces every other precedence.
		{"one precedence", "precedence ::ffff:0:0/96 100\n", false, values{
			"10.0.0.1": "100 4 14", "::1": "40 0 2", "2002::1": "40 2 14", "fd00::1": "40 13 14", "2001:db8::1": "40 1 14",
		}},
		{"one label", "label 2001:db8::/32 9", false, values{
			"2001:db8::1": "40 9 14", "10.0.0.1": "35 1 14", "::1": "50 1 2", "2002::1": "30 1 14", "fd00::1": "3 1 14",
		}},
		{"tables of their own", "label fd11::/16 14\nlabel fd00::/8 13\nprecedence fd11:1::/32 45\nprecedence ::/0 7\n", false, values{
			"fd11:1::1": "45 14 14", "fd11:2::1": "7 14 14", "fd22::1": "7 13 14", "2001:db8::1": "7 1 14", "10.0.0.1": "7 1 14",
		}},
		{"one scope", "scopev4 10.0.0.0/8 5", false, values{"10.1.1.1": "35 4 5", "127.0.0.1": "35 4 14", "169.254.1.1": "35 4 14"}},
		{"longest scope", "scopev4 10.0.0.0/8 5\nscopev4 ::ffff:10.1.0.0/112 8\nscopev4 10.1.1.1 2", false, values{
			"10.2.0.0": "35 4 5", "10.1.2.3": "35 4 8", "10.1.1.1": "35 4 2",
		}},
		{"the first counts", "label ::/0 3\nlabel ::/0 4\nscopev4 0.0.0.0/0 8\nscopev4 ::ffff:0:0/96 5", false, values{"2001:db8::1": "40 3 14", "10.0.0.1": "35 3 8"}},
		{"bits beyond the length", "label 2001:db8::1/32 9", false, values{"2001:db8:5::5": "40 9 14"}},
		{"an address", "precedence 2001:db8::1 77", false, values{"2001:db8::1": "77 1 14", "2001:db8::2": "40 1 14"}},
		{"more words, odd spaces", " \tlabel\t ::/0   6 and more\r\n reload yes please", true, values{"2001:db8::1": "40 6 14"}},
		{"reloaded no more", "reload yes\nreload no\n", false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, reload, err := addrsel.ParseGAI(strings.NewReader(tt.text))
			if err != nil || reload != tt.reload {
				t.Fatalf("reload %v, %v", reload, err)
			}
			s := selector(t, c)
			for addr, want := range tt.want {
				a := ip(addr)
				if got := fmt.Sprint(s.Precedence(a), s.Label(a), s.Scope(a)); got != want {
					t.Errorf("%s: %s, want %s", addr, got, want)
				}
			}
		})
	}
}

func TestP44_GAIErrors(t *testing.T) {
	lines := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	for _, tt := range []struct{ text, want string }{
		{"labels ::/0 1", `line 1: "labels" is none of label, precedence, scopev4 and reload`},
		{"\n# x\nlabel ::/0", "line 3: label: a prefix and a value are wanted"},
		{"label ::/129 1", `line 1: label: "::/129": the length is not between 0 and 128`},
		{"label ::/-1 1", `line 1: label: "::/-1": the length is not between 0 and 128`},
		{"label ::/ 1", `line 1: label: "::/": the length is not between 0 and 128`},
		{"label fe80::1%lan/64 1", `line 1: label: "fe80::1%lan/64" is not a prefix`},
		{"precedence x 1", `line 1: precedence: "x" is not a prefix`},
		{"precedence 10.0.0.0/8 1", "line 1: precedence: 10.0.0.0/8 is IPv4; write ::ffff:10.0.0.0/104"},
		{"precedence ::/0 -1", `line 1: precedence: value "-1" is not between 0 and 2147483647`},
		{"precedence ::/0 2147483648", `line 1: precedence: value "2147483648" is not between 0 and 2147483647`},
		{"precedence ::/0 4x", `line 1: precedence: value "4x" is not between 0 and 2147483647`},
		{"scopev4 10.0.0.0/8", "line 1: scopev4: a prefix and a scope are wanted"},
		{"scopev4 10.0.0.0/33 2", `line 1: scopev4: "10.0.0.0/33": the length is not between 0 and 32`},
		{"scopev4 ::ffff:10.0.0.0/95 2", "line 1: scopev4: "},
		{"scopev4 2001:db8::/32 2", "line 1: scopev4: 2001:db8::/32 is not an IPv4 prefix"},
		{"scopev4 10.0.0.0/8 16", `line 1: scopev4: scope "16" is not between 0 and 15`},
		{"reload", "line 1: reload: yes or no is wanted"},
		{"reload maybe", "line 1: reload: yes or no is wanted"},
		{"\n#" + strings.Repeat("x", addrsel.MaxLine), "line 2: longer than 1023 octets"},
		{strings.Repeat("\n", addrsel.MaxLines+1), "line 4097: more than 4096 lines"},
		{lines(addrsel.MaxRows+1, "label 2001:db8:%x::/48 1\n"), "line 257: label: more than 256 lines"},
		{lines(addrsel.MaxScopes+1, "scopev4 ::ffff:a00:%x 2\n"), "line 257: scopev4: more than 256 lines"},
		{lines(addrsel.MaxRows, "label 2001:db8:%x::/48 1\n") + lines(addrsel.MaxRows, "precedence 2001:db9:%x::/48 1\n"), "policy: 512 rows, the limit is 256"},
	} {
		if _, _, err := addrsel.ParseGAI(strings.NewReader(tt.text)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%.40q: %v, want %s", tt.text, err, tt.want)
		}
	}
	if _, _, err := addrsel.ParseGAI(broken{}); err == nil || !strings.Contains(err.Error(), "line 1: it broke") {
		t.Errorf("a reader's error: %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, fmt.Errorf("it broke") }

// Whatever the text is, it gives a policy that works or an error.
func FuzzParseGAI(f *testing.F) {
	for _, s := range []string{
		gaiConf, "label ::/0 1", "precedence ::ffff:0:0/96 100\n", "scopev4 10.1 5", "reload yes", "#", "label ::ffff:1.2.3.4/97 0\r",
		"scopev4 ::ffff:0:0/96 15", "label fe80::%1/3 1", "label 1/1/1 1", "precedence ::/00 00", "\x00", "label \u2003::/0 1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := addrsel.ParseGAI(strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") && !strings.HasPrefix(err.Error(), "policy: ") {
				t.Errorf("%v: where?", err)
			}
			return
		}
		s := selector(t, c)
		for _, a := range []string{"::1", "10.0.0.1", "2001:db8::1", "ff02::1"} {
			if s.Scope(ip(a)) > 15 || s.Precedence(ip(a)) > addrsel.MaxValue {
				t.Errorf("%s: scope %d, precedence %d", a, s.Scope(ip(a)), s.Precedence(ip(a)))
			}
		}
	})
}
