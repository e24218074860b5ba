package config

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parseText returns the root of the one document that text is, nil after a fault.
func parseText(fs *faultList, text []byte) ast.Node {
	start := Position{1, 1}
	if len(text) > MaxSize {
		fs.add(start, "the file is longer than %d octets: that is the most that is read", MaxSize)
		return nil
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if p, ok := badOctet(text); ok {
		fs.add(p, "this octet is no text in UTF-8, which the file has to be in")
		return nil
	}
	tokens := lexer.Tokenize(string(text))
	if !plain(fs, tokens) {
		return nil
	}
	// Duplicate keys are found by the reader, which tells both places.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p, message := start, err.Error()
		if e, ok := errors.AsType[yaml.Error](err); ok {
			message = e.GetMessage()
			if t := e.GetToken(); t != nil {
				p = tokenPosition(t)
			}
		}
		fs.add(p, "this is not YAML: %s", message)
		return nil
	}
	return onlyDocument(fs, file)
}

// onlyDocument returns the root of a file with one document that is not empty.
func onlyDocument(fs *faultList, file *ast.File) ast.Node {
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		fs.add(Position{1, 1}, `the file says nothing: want at least "links" and "pvds"`)
		return nil
	}
	if len(file.Docs) > 1 {
		p := Position{1, 1}
		if second := file.Docs[1]; second.Start != nil {
			p = tokenPosition(second.Start)
		} else if second.Body != nil {
			p = position(second.Body)
		}
		fs.add(p, "a second document begins here: a configuration is one document")
		return nil
	}
	return file.Docs[0].Body
}

// badOctet returns the place of the first octet that is not UTF-8.
func badOctet(text []byte) (Position, bool) {
	if utf8.Valid(text) {
		return Position{}, false
	}
	p := Position{1, 1}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			return p, true
		case r == '\n':
			p = Position{p.Line + 1, 1}
		default:
			p.Column++
		}
		text = text[n:]
	}
	return Position{}, false
}

// unused are the parts of YAML that a configuration has no use for, and that make a
// short file stand for a large one, or one that says something other than it seems to.
var unused = map[token.Type]string{
	token.AnchorType:     "anchors are not used here: write the value out where it is wanted",
	token.AliasType:      "aliases are not used here: write the value out",
	token.MergeKeyType:   "merge keys are not used here: write the keys out",
	token.TagType:        "tags are not used here: write the value without it",
	token.DirectiveType:  "directives are not used here: leave the line out",
	token.MappingKeyType: `keys after "?" are not used here: write key: value`,
}

// plain reports whether tokens keep to the part of YAML that is used and nest no deeper
// than is sane. It comes before the parser, whose time and stack it bounds.
func plain(fs *faultList, tokens token.Tokens) bool {
	before := len(fs.list)
	var flow int
	var keys keyCounter
	for _, t := range tokens {
		p := tokenPosition(t)
		if why, ok := unused[t.Type]; ok {
			fs.add(p, "%s", why)
			continue
		}
		tooDeep, tooMany := false, false
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
			tooDeep = flow > maxDepth
		case token.MappingEndType, token.SequenceEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType:
			tooDeep = p.Column > maxIndent
		case token.MappingValueType:
			if flow == 0 && t.Prev != nil {
				tooMany = keys.add(tokenPosition(t.Prev).Column)
			}
		default:
		}
		switch {
		case tooDeep:
			fs.add(p, "lists and mappings nest more than %d deep here", maxDepth)
			return false
		case tooMany:
			fs.add(p, "a mapping has more than %d keys here", maxKeys)
			return false
		}
	}
	return len(fs.list) == before
}

// A keyCounter counts the keys of the block mappings that are open, from the columns
// that keys stand in.
type keyCounter []struct{ column, keys int }

// add counts a key and reports whether its mapping has too many.
func (c *keyCounter) add(column int) bool {
	s := *c
	for len(s) > 0 && s[len(s)-1].column > column {
		s = s[:len(s)-1]
	}
	if len(s) == 0 || s[len(s)-1].column < column {
		s = append(s, struct{ column, keys int }{column, 0})
	}
	s[len(s)-1].keys++
	*c = s
	return s[len(s)-1].keys > maxKeys
}

// position returns where a node begins. A block mapping begins at its first key.
func position(n ast.Node) Position {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return position(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return position(m.Key)
	}
	if t := n.GetToken(); t != nil {
		return tokenPosition(t)
	}
	return Position{1, 1}
}

func tokenPosition(t *token.Token) Position {
	if t.Position == nil {
		return Position{1, 1}
	}
	return Position{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}
