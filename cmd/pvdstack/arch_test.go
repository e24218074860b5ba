package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/pvdstack/pvdstack"
	gvisor = "gvisor.dev/gvisor"
	root   = "../.." // the module's folder, from here
)

// An arrow says what the packages at or below a folder may import.
type arrow struct {
	from   string   // the folder
	to     []string // folders of this module; "x/..." is x and all below
	others string   // modules of others: "none", "any", or "no gvisor"
}

// arrows are the rules. The longest from that fits a package is its rule; a package may
// import what lies in its own rule's folder too. A package without a rule is an error,
// so that a new one is thought about.
var arrows = []arrow{
	{from: "pvd", others: "none"},
	{from: "pvd/ra", to: []string{"pvd"}, others: "no gvisor"},
	{from: "pvd/dhcp", to: []string{"pvd"}, others: "no gvisor"},
	{from: "pvd/addinfo", to: []string{"pvd"}, others: "no gvisor"},
	{from: "pvd/addrsel", to: []string{"pvd"}, others: "none"},
	{from: "pvd/learn", to: []string{"pvd", "pvd/ra", "pvd/dhcp/...", "pvd/addinfo"}, others: "no gvisor"},
	{from: "pvd/nat64", others: "none"},
	{from: "pvd/steer", to: []string{"pvd", "pvd/addinfo"}, others: "none"},
	{from: "pvd/selection", to: []string{"pvd"}, others: "none"},
	{from: "pvd/pvdhttp", to: []string{"pvd"}, others: "no gvisor"},
	{from: "pvd/pvdtest", to: []string{"pvd", "pvd/dhcp/...", "pvd/learn", "pvd/nat64", "pvd/ra", "stack", "tun"}, others: "no gvisor"},
	{from: "tun", others: "no gvisor"},
	{from: "stack", to: []string{"pvd", "pvd/addinfo", "pvd/addrsel", "pvd/learn", "pvd/nat64", "pvd/ra", "tun", "stack/dns"}, others: "any"},
	{from: "stack/dns", to: []string{"pvd"}, others: "no gvisor"},
	{from: "stack/socks5", to: []string{"pvd"}, others: "no gvisor"},
	{from: "cmd", to: []string{"pvd/...", "stack", "stack/dns", "stack/socks5", "tun/..."}, others: "no gvisor"},
	{from: "bench", to: []string{"pvd/...", "stack/...", "tun/..."}, others: "any"},
}

func TestArrows(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows", "freebsd"} {
		t.Run(goos, func(t *testing.T) {
			for _, p := range listPackages(t, goos) {
				for _, problem := range checkArrows(p.ImportPath, p.Imports) {
					t.Error(problem)
				}
			}
		})
	}
}

// TestArrowsCheck holds that the check above can fail.
func TestArrowsCheck(t *testing.T) {
	tests := []struct {
		from, to string
		ok       bool
	}{
		{"pvd", "net/netip", true},
		{"pvd", "golang.org/x/sys/unix", false},
		{"pvd", module + "/tun", false},
		{"pvd/pvdhttp", module + "/pvd", true},
		{"pvd/pvdhttp", module + "/stack", false},
		{"pvd/pvdtest", module + "/stack", true},
		{"pvd/pvdtest", gvisor + "/pkg/tcpip", false},
		{"tun", module + "/pvd", false},
		{"tun/tuntest", module + "/tun", true},
		{"tun", gvisor + "/pkg/buffer", false},
		{"stack", gvisor + "/pkg/buffer", true},
		{"stack", module + "/pvd", true},
		{"stack", module + "/pvd/pvdtest", false},
		{"stack", module + "/stack/socks5", false},
		{"stack/socks5", module + "/stack", false},
		{"cmd/pvdstack", module + "/cmd/pvdstack/internal/config", true},
		{"cmd/pvdstack", module + "/bench", false},
		{"cmd/pvdstack", gvisor + "/pkg/tcpip", false},
		{"elsewhere", "fmt", false},
	}
	for _, tt := range tests {
		problems := checkArrows(module+"/"+tt.from, []string{tt.to})
		if ok := len(problems) == 0; ok != tt.ok {
			t.Errorf("%s importing %s: %v, want ok = %v", tt.from, tt.to, problems, tt.ok)
		}
	}
}

// checkArrows returns what is wrong with a package's imports.
func checkArrows(pkg string, imports []string) (problems []string) {
	folder := strings.TrimPrefix(pkg, module+"/")
	rule, ok := ruleOf(folder)
	if !ok {
		return []string{pkg + ": no rule says what it may import: add an arrow"}
	}
	for _, imp := range imports {
		if to, ours := strings.CutPrefix(imp, module+"/"); ours {
			target, _ := ruleOf(to)
			if target.from != rule.from && !slices.ContainsFunc(rule.to, func(p string) bool { return matches(p, to) }) {
				problems = append(problems, fmt.Sprintf("%s imports %s: it may import %q of ours", folder, to, rule.to))
			}
			continue
		}
		first, _, _ := strings.Cut(imp, "/")
		std := !strings.Contains(first, ".")
		if !std && (rule.others == "none" || rule.others == "no gvisor" && below(imp, gvisor)) {
			problems = append(problems, fmt.Sprintf("%s imports %s: of other modules it may import %s", folder, imp, rule.others))
		}
	}
	return problems
}

func ruleOf(folder string) (rule arrow, ok bool) {
	for _, a := range arrows {
		if below(folder, a.from) && len(a.from) > len(rule.from) {
			rule, ok = a, true
		}
	}
	return rule, ok
}

// below reports whether a path is a folder or below it.
func below(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

func matches(pattern, folder string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return below(folder, base)
	}
	return pattern == folder
}

type listed struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T, goos string) (packages []listed) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// dataPaths are the folders whose code carries the packets and names of PvDs. What they
// ask of the host's network would be outside of every PvD: a leak.
var dataPaths = []string{"pvd", "stack", "tun"}

// hostCalls are what a package offers that reaches the host's network; a star at the end
// is any rest.
var hostCalls = map[string][]string{
	"net": {
		"DefaultResolver", "Dial*", "FileConn", "FileListener", "FilePacketConn",
		"InterfaceAddrs", "InterfaceBy*", "Interfaces", "Listen*", "Lookup*", "Resolve*",
	},
	"net/http": {
		"DefaultClient", "DefaultTransport", "Get", "Head", "ListenAndServe*", "Post*", "ProxyFromEnvironment",
	},
	"crypto/tls":                  {"Dial*", "Listen"},
	"github.com/miekg/dns":        {"Client", "ClientConfigFromFile", "Dial*", "Exchange*", "ListenAndServe*"},
	"syscall":                     {"Socket*"},
	"golang.org/x/sys/unix":       {"Socket*"},
	"golang.org/x/net/icmp":       {"Listen*"},
	"golang.org/x/net/proxy":      {"Direct", "FromEnvironment*"},
	"golang.org/x/crypto/ssh":     {"Dial"},
	"github.com/mdlayher/ndp":     {"Listen"},
	"github.com/mdlayher/netlink": {"Dial"},
}

// harmless are types whose names look like one of hostCalls.
var harmless = map[string]bool{"net.Listener": true, "net.Resolver": true}

// allowed are the exceptions: a file or folder and what it may use, and why that is no
// leak.
var allowed = []struct{ path, use, why string }{
	{"pvd/pvdtest/seal.go", "net.DefaultResolver", "it is what a test is kept from"},
	{"pvd/pvdtest/seal.go", "http.DefaultTransport", "likewise"},
	{"tun", "net.InterfaceBy*", "a link on an interface of the host finds it by name"},
	{"tun", "unix.Socket*", "AF_PACKET and device ioctls are what a link is made of"},
}

func TestNoHostNetwork(t *testing.T) {
	used := make([]bool, len(allowed))
	for _, folder := range dataPaths {
		err := filepath.WalkDir(filepath.Join(root, folder), func(file string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			src, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, file)
			rel = filepath.ToSlash(rel)
			uses, err := hostUses(rel, src)
			for _, u := range uses {
				i := slices.IndexFunc(allowed, func(a struct{ path, use, why string }) bool {
					return below(rel, a.path) && star(a.use, u.what)
				})
				if i < 0 {
					t.Errorf("%v: %s reaches the host's network", u.pos, u.what)
				} else {
					used[i] = true
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for i, a := range allowed {
		if !used[i] {
			t.Logf("the exception for %s in %s is not used", a.use, a.path)
		}
	}
}

// TestNoHostNetworkCheck holds that the check above can fail.
func TestNoHostNetworkCheck(t *testing.T) {
	tests := []struct{ src, want string }{
		{`import "net"; var c, _ = net.Dial("tcp", "x:1")`, "net.Dial"},
		{`import "net"; var c = net.Dialer{}`, "net.Dialer"},
		{`import "net"; func f() { net.DefaultResolver.LookupHost(nil, "x") }`, "net.DefaultResolver"},
		{`import host "net"; var c, _ = host.LookupIP("x")`, "net.LookupIP"},
		{`import "net"; var a, _ = net.ResolveUDPAddr("udp", "x:1")`, "net.ResolveUDPAddr"},
		{`import "net"; var l, _ = net.Listen("tcp", ":1")`, "net.Listen"},
		{`import "net"; var r = net.Resolver{PreferGo: true}`, "net.Resolver without Dial"},
		{`import "net"; var r net.Resolver`, "net.Resolver without Dial"},
		{`import "net"; var r = new(net.Resolver)`, "net.Resolver without Dial"},
		{`import "net"; var r = net.Resolver{Dial: dial}`, ""},
		{`import "net"; func f(r *net.Resolver) *net.Resolver { return r }`, ""},
		{`import "net/http"; var c = http.DefaultClient`, "http.DefaultClient"},
		{`import "net/http"; var c = &http.Client{}`, "http.Client without Transport"},
		{`import "net/http"; var c = &http.Client{Transport: t}`, ""},
		{`import "net/http"; var c = &http.Transport{}`, "http.Transport without DialContext"},
		{`import "net/http"; var c = &http.Transport{DialContext: d}`, ""},
		{`import . "net"; var c, _ = Dial("tcp", "x:1")`, `import . "net"`},
		{`import "net"; type T struct { Dialer net.Conn }; var e = net.ErrClosed; var l net.Listener`, ""},
		{`import net "example.com/net"; var c, _ = net.Dial("tcp", "x:1")`, ""},
	}
	for _, tt := range tests {
		uses, err := hostUses("x.go", []byte("package p; "+tt.src))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(uses) > 0 {
			got = uses[0].what
		}
		if got != tt.want {
			t.Errorf("%s: found %q, want %q", tt.src, got, tt.want)
		}
	}
}

type use struct {
	pos  token.Position
	what string
}

// needsField are types that use the host's network unless a field says otherwise.
var needsField = map[string]string{
	"net.Resolver":   "Dial",
	"http.Client":    "Transport",
	"http.Transport": "DialContext",
}

// hostUses returns where a file reaches the host's network.
func hostUses(name string, src []byte) (uses []use, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	add := func(n ast.Node, what string) { uses = append(uses, use{fset.Position(n.Pos()), what}) }
	imports := map[string]string{} // the name in this file, the path
	for _, spec := range file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		if _, watched := hostCalls[p]; !watched {
			continue
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			add(spec, "import . "+spec.Path.Value)
		}
		imports[name] = p
	}
	// selected returns the "net.Dial" that an expression is, if its package is watched.
	selected := func(e ast.Node) (p, what string) {
		sel, ok := e.(*ast.SelectorExpr)
		if !ok {
			return "", ""
		}
		id, ok := sel.X.(*ast.Ident)
		if !ok || imports[id.Name] == "" {
			return "", ""
		}
		p = imports[id.Name]
		return p, path.Base(p) + "." + sel.Sel.Name
	}
	zero := func(e ast.Node) {
		if _, what := selected(e); needsField[what] != "" {
			add(e, what+" without "+needsField[what])
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			p, what := selected(n)
			for _, pattern := range hostCalls[p] {
				if !harmless[what] && star(path.Base(p)+"."+pattern, what) {
					add(n, what)
					break
				}
			}
		case *ast.CompositeLit:
			if _, what := selected(n.Type); needsField[what] != "" && !hasField(n, needsField[what]) {
				zero(n.Type)
			}
		case *ast.ValueSpec:
			zero(n.Type)
		case *ast.Field:
			zero(n.Type)
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "new" && len(n.Args) == 1 {
				zero(n.Args[0])
			}
		}
		return true
	})
	return uses, nil
}

// star reports whether a pattern, which may end in a star, is s.
func star(pattern, s string) bool {
	prefix, any := strings.CutSuffix(pattern, "*")
	return s == pattern || any && strings.HasPrefix(s, prefix)
}

func hasField(lit *ast.CompositeLit, name string) bool {
	return slices.ContainsFunc(lit.Elts, func(e ast.Expr) bool {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return false
		}
		id, ok := kv.Key.(*ast.Ident)
		return ok && id.Name == name
	})
}
