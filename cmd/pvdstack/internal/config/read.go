package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A value is something the file says, and where. The zero value is what it does not say.
type value[T any] struct {
	v     T
	at    Position
	given bool // the file says it
	set   bool // and it could be read
}

// A reader takes nodes apart. What has the wrong shape is a fault, and left out.
type reader struct{ *faultList }

// fields says how the value of each key of a mapping is read.
type fields map[string]func(ast.Node)

// pairs returns the keys and values of a mapping. what says in messages what the mapping
// is.
func (r *reader) pairs(n ast.Node, what string) ([]*ast.MappingValueNode, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	r.add(position(n), "%s is %s: want a mapping of keys to values", what, kind(n))
	return nil, false
}

// keys calls f with each key that is a text, once, and its value. It reports whether n is
// a mapping at all.
func (r *reader) keys(n ast.Node, what string, f func(key value[string], n ast.Node)) bool {
	pairs, ok := r.pairs(n, what)
	first := make(map[string]Position)
	for _, kv := range pairs {
		p := position(kv.Key)
		s, ok := kv.Key.(*ast.StringNode)
		if !ok {
			r.add(p, "a key is %s: want a text, in quotes if need be", kind(kv.Key))
			continue
		}
		if q, dup := first[s.Value]; dup {
			r.add(p, "key %s is here for the second time, after %d:%d: leave one", quote(s.Value), q.Line, q.Column)
			continue
		}
		first[s.Value] = p
		if null, ok := kv.Value.(*ast.NullNode); ok && null.Token.Type == token.ImplicitNullType {
			// What is not there has no place but its key's.
			null.Token.Position = s.Token.Position
		}
		f(value[string]{s.Value, p, true, true}, kv.Value)
	}
	return ok
}

// mapping reads a mapping whose keys are known, and reports whether n is a mapping at
// all.
func (r *reader) mapping(n ast.Node, what string, known fields) bool {
	return r.keys(n, what, func(key value[string], n ast.Node) {
		if read, ok := known[key.v]; ok {
			read(n)
			return
		}
		names := make([]string, 0, len(known))
		for k := range known {
			names = append(names, k)
		}
		slices.Sort(names)
		r.add(key.at, "unknown key %s in %s%s", quote(key.v), what, hint(key.v, names))
	})
}

// list calls f with each entry of a list.
func (r *reader) list(n ast.Node, what string, f func(ast.Node)) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.add(position(n), "%s is %s: want a list", what, kind(n))
		return
	}
	for _, entry := range s.Values {
		f(entry)
	}
}

// scalar returns what a text says.
func (r *reader) scalar(n ast.Node, what string) value[string] {
	v := value[string]{at: position(n), given: true}
	switch s := n.(type) {
	case *ast.StringNode:
		v.v, v.set = s.Value, true
	case *ast.LiteralNode:
		v.v, v.set = strings.TrimSuffix(s.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		r.add(v.at, "%s is %s: want a text, so put it in quotes", what, kind(n))
	default:
		r.add(v.at, "%s is %s: want a text", what, kind(n))
	}
	return v
}

// secret returns what a text says that messages must not repeat.
func (r *reader) secret(n ast.Node, what string) value[string] {
	v := value[string]{at: position(n), given: true}
	if s, ok := n.(*ast.StringNode); ok {
		v.v, v.set = s.Value, true
	} else {
		r.add(v.at, "%s is not a text on one line: put it in quotes", what)
	}
	return v
}

// text reads a text into v.
func (r *reader) text(what string, v *value[string]) func(ast.Node) {
	return func(n ast.Node) { *v = r.scalar(n, what) }
}

// textOrNull reads a text into v, or null, which leaves it given but not set.
func (r *reader) textOrNull(what string, v *value[string]) func(ast.Node) {
	return func(n ast.Node) {
		if _, ok := n.(*ast.NullNode); ok {
			*v = value[string]{at: position(n), given: true}
			return
		}
		*v = r.scalar(n, what)
	}
}

// texts reads a list of texts into vs.
func (r *reader) texts(what, each string, vs *[]value[string]) func(ast.Node) {
	return func(n ast.Node) {
		r.list(n, what, func(n ast.Node) {
			if v := r.scalar(n, each); v.set {
				*vs = append(*vs, v)
			}
		})
	}
}

// integer reads a whole number from low to high into v.
func (r *reader) integer(what string, low, high int64, v *value[int64]) func(ast.Node) {
	return func(n ast.Node) {
		*v = value[int64]{at: position(n), given: true}
		i, ok := n.(*ast.IntegerNode)
		if !ok {
			r.add(v.at, "%s is %s: want a whole number from %d to %d", what, kind(n), low, high)
			return
		}
		// The parser understands 0x10, 0o20 and 1_000, none of which anyone means here.
		written := i.GetToken().Value
		x, err := strconv.ParseInt(written, 10, 64)
		if err != nil || x < low || x > high || strconv.FormatInt(x, 10) != written {
			r.add(v.at, "%s is %s: want a whole number from %d to %d", what, cut(written), low, high)
			return
		}
		v.v, v.set = x, true
	}
}

// boolean reads true or false into v.
func (r *reader) boolean(what string, v *value[bool]) func(ast.Node) {
	return func(n ast.Node) {
		*v = value[bool]{at: position(n), given: true}
		b, ok := n.(*ast.BoolNode)
		if !ok {
			r.add(v.at, "%s is %s: want true or false", what, kind(n))
			return
		}
		v.v, v.set = b.Value, true
	}
}

// kind says in a message what a node is.
func kind(n ast.Node) string {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return "empty"
	case *ast.StringNode:
		return "the text " + quote(n.Value)
	case *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + cut(n.GetToken().Value)
	case *ast.BoolNode:
		return strconv.FormatBool(n.Value)
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	return "something else"
}
