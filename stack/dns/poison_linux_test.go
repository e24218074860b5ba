package dns_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// poisonName is what the control of the test below asks the host's resolver for.
const poisonName = "control.poison.example."

// A host whose own resolver answers everything wrongly: nothing is asked there.
func TestSystemPoisonedHost(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: runs tests again in a namespace")
	}
	ns := tuntest.NewNS(t)
	etc := filepath.Join("/etc/netns", ns.Name)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(etc) })
	for name, text := range map[string]string{
		"resolv.conf":   "nameserver 127.0.0.1\nsearch poison.example\noptions ndots:5\n",
		"hosts":         "6.6.6.6 wiki.corp wiki\n",
		"nsswitch.conf": "hosts: files dns\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asked := poison(t, ns)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := ns.Command(exe, "-test.count=1", "-test.v",
		"-test.run=^(TestPoisonControl|TestS7_NothingSurvivesReattachment|TestP40_EscalationOverLinks|TestEncryptedServerOfPvD|TestRecords|TestBadInput|TestLookup|TestHTTPS)$")
	cmd.Env = append(os.Environ(), "POISONED=1", "LOCALDOMAIN=poison.example", "RES_OPTIONS=ndots:5", "HTTPS_PROXY=http://127.0.0.1:53")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "\n--- PASS") != 8 {
		t.Errorf("%v\n%s", err, out)
	}
	if got := asked(); !slices.Contains(got, poisonName) || slices.ContainsFunc(got, func(s string) bool { return s != poisonName }) {
		t.Errorf("the host's resolver was asked for %q", got)
	}
}

// TestPoisonControl shows that the host's resolver is the wrong one there.
func TestPoisonControl(t *testing.T) {
	if os.Getenv("POISONED") == "" {
		return
	}
	got, err := (&net.Resolver{PreferGo: true}).LookupNetIP(t.Context(), "ip4", poisonName)
	if err != nil || len(got) != 1 || got[0] != netip.MustParseAddr("6.6.6.6") {
		t.Errorf("%v, %v", got, err)
	}
}

// poison runs a resolver on the namespace's loopback and returns what tells its questions.
func poison(t *testing.T, ns *tuntest.NS) (asked func() []string) {
	t.Helper()
	var pc net.PacketConn
	var l net.Listener
	var err, errTCP error
	ns.Do(func() {
		pc, err = net.ListenPacket("udp", "127.0.0.1:53")
		l, errTCP = net.Listen("tcp", "127.0.0.1:53")
	})
	if err != nil || errTCP != nil {
		t.Fatal(err, errTCP)
	}
	var mu sync.Mutex
	var names []string
	h := wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
		mu.Lock()
		names = append(names, q.Question[0].Name)
		mu.Unlock()
		m := new(wire.Msg).SetReply(q)
		m.RecursionAvailable = true
		if q.Question[0].Qtype == wire.TypeA {
			m.Answer = []wire.RR{&wire.A{
				Hdr: wire.RR_Header{Name: q.Question[0].Name, Rrtype: wire.TypeA, Class: wire.ClassINET, Ttl: 60},
				A:   net.IPv4(6, 6, 6, 6),
			}}
		}
		_ = w.WriteMsg(m)
	})
	var wg sync.WaitGroup
	servers := []*wire.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}}
	for _, s := range servers {
		wg.Go(func() { _ = s.ActivateAndServe() })
	}
	t.Cleanup(func() {
		_ = pc.Close()
		_ = l.Close()
		wg.Wait()
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(names)
	}
}
