package interop_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestPage holds docs/libraries.md to what is tested: its blocks of Go are the
// declarations of snippets_test.go, word for word and in the same order.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/libraries.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		shown = append(shown, declarations(t, "package p\n"+m[1])...)
	}
	src, err := os.ReadFile("snippets_test.go")
	if err != nil {
		t.Fatal(err)
	}
	want := declarations(t, string(src))
	if len(want) == 0 {
		t.Fatal("there are no snippets")
	}
	for i, d := range want {
		first, _, _ := strings.Cut(d, "\n")
		if i >= len(shown) {
			t.Errorf("the page does not show %q", first)
		} else if shown[i] != d {
			t.Errorf("where snippets_test.go has\n%s\nthe page shows\n%s", d, shown[i])
		}
	}
	if len(shown) > len(want) {
		t.Errorf("the page shows what is not tested: %q", shown[len(want):])
	}
}

// declarations returns the source of what is declared in a file, with comments, apart from
// imports.
func declarations(t *testing.T, src string) (decls []string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		from := d.Pos()
		switch d := d.(type) {
		case *ast.GenDecl:
			if d.Tok == token.IMPORT {
				continue
			}
			if d.Doc != nil {
				from = d.Doc.Pos()
			}
		case *ast.FuncDecl:
			if d.Doc != nil {
				from = d.Doc.Pos()
			}
		}
		decls = append(decls, src[fset.Position(from).Offset:fset.Position(d.End()).Offset])
	}
	return decls
}
