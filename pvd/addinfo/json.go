package addinfo

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// parseJSON returns the object that body is as I-JSON (RFC 7493): JSON of RFC 8259 in
// UTF-8 in which no name stands twice in an object, no text has surrogates or
// noncharacters, and every number is one of IEEE 754. encoding/json lets duplicates, bad
// UTF-8 and lone surrogates pass.
func parseJSON(body []byte) (object, *Fault) {
	if len(body) > MaxBody {
		return nil, faultf(TooLarge, "", "%d octets, the limit is %d", len(body), MaxBody)
	}
	p := parser{b: body}
	v, err := p.value(0)
	if err == nil {
		p.space()
		if p.at < len(p.b) {
			err = p.errorf("something follows the object")
		}
	}
	if err != nil {
		return nil, &Fault{Reason: BadJSON, Err: err}
	}
	o, ok := v.(object)
	if !ok {
		return nil, faultf(BadJSON, "", "%s, want an object", kind(v))
	}
	return o, nil
}

// A JSON value is an object, []any, string, number, bool or nil.
type (
	object map[string]any
	number string // as it is written
)

// kind returns what a value is called.
func kind(v any) string {
	switch v.(type) {
	case object:
		return "an object"
	case []any:
		return "an array"
	case string:
		return "a string"
	case number:
		return "a number"
	case bool:
		return "a boolean"
	}
	return "null"
}

type parser struct {
	b  []byte
	at int
}

// A syntaxError is where a text is not I-JSON.
type syntaxError struct {
	offset int
	text   string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("octet %d: %s", e.offset, e.text) }

func (p *parser) errorf(format string, args ...any) error {
	return &syntaxError{p.at, fmt.Sprintf(format, args...)}
}

func (p *parser) space() {
	for p.at < len(p.b) {
		switch p.b[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// peek returns the next octet, 0 at the end; 0 is valid nowhere.
func (p *parser) peek() byte {
	if p.at < len(p.b) {
		return p.b[p.at]
	}
	return 0
}

// unexpected is the error for a next octet that is not wanted.
func (p *parser) unexpected(want string) error {
	if p.at >= len(p.b) {
		return p.errorf("it ends where %s is expected", want)
	}
	return p.errorf("%s where %s is expected", strconv.QuoteRuneToASCII(rune(p.b[p.at])), want)
}

func (p *parser) value(depth int) (any, error) {
	p.space()
	switch c := p.peek(); {
	case c == '{' || c == '[':
		if depth == maxDepth {
			return nil, p.errorf("nested deeper than %d", maxDepth)
		}
		p.at++
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case c == '"':
		return p.text()
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	}
	for _, l := range []struct {
		word  string
		value any
	}{{"true", true}, {"false", false}, {"null", nil}} {
		if len(p.b)-p.at >= len(l.word) && string(p.b[p.at:p.at+len(l.word)]) == l.word {
			p.at += len(l.word)
			return l.value, nil
		}
	}
	return nil, p.unexpected("a value")
}

func (p *parser) object(depth int) (any, error) {
	o := object{}
	if p.space(); p.peek() == '}' {
		p.at++
		return o, nil
	}
	for {
		p.space()
		if p.peek() != '"' {
			return nil, p.unexpected("a name")
		}
		start := p.at
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		if _, twice := o[name]; twice {
			p.at = start
			return nil, p.errorf("name %s stands twice", quote(name))
		}
		if p.space(); p.peek() != ':' {
			return nil, p.unexpected("a colon")
		}
		p.at++
		if o[name], err = p.value(depth); err != nil {
			return nil, err
		}
		if end, err := p.next('}'); end || err != nil {
			return o, err
		}
	}
}

func (p *parser) array(depth int) (any, error) {
	a := []any{}
	if p.space(); p.peek() == ']' {
		p.at++
		return a, nil
	}
	for {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		if end, err := p.next(']'); end || err != nil {
			return a, err
		}
	}
}

// next goes past a comma, or past what ends an array or object.
func (p *parser) next(closing byte) (end bool, err error) {
	p.space()
	switch p.peek() {
	case ',':
		p.at++
		return false, nil
	case closing:
		p.at++
		return true, nil
	}
	return false, p.unexpected("a comma or " + strconv.QuoteRune(rune(closing)))
}

func (p *parser) text() (string, error) {
	p.at++ // the quotation mark
	var s []byte
	for {
		switch c := p.peek(); {
		case p.at >= len(p.b):
			return "", p.errorf("it ends within a string")
		case c == '"':
			p.at++
			return string(s), nil
		case c < ' ':
			return "", p.errorf("control character %#02x in a string", c)
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			s = utf8.AppendRune(s, r)
		default:
			r, n := utf8.DecodeRune(p.b[p.at:])
			if r == utf8.RuneError && n == 1 {
				return "", p.errorf("not UTF-8")
			}
			if noncharacter(r) {
				return "", p.errorf("noncharacter %U", r)
			}
			s = append(s, p.b[p.at:p.at+n]...)
			p.at += n
		}
	}
}

// noncharacter reports whether Unicode has set r aside for ever.
func noncharacter(r rune) bool { return r&0xfffe == 0xfffe || 0xfdd0 <= r && r <= 0xfdef }

// escapes are the characters that a letter after a backslash stands for.
var escapes = map[byte]rune{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (p *parser) escape() (rune, error) {
	p.at++ // the backslash
	c := p.peek()
	if r, ok := escapes[c]; ok {
		p.at++
		return r, nil
	}
	if c != 'u' {
		return 0, p.unexpected("an escape")
	}
	r, err := p.unit()
	if err != nil {
		return 0, err
	}
	if utf16.IsSurrogate(r) {
		if p.at+1 >= len(p.b) || p.b[p.at] != '\\' || p.b[p.at+1] != 'u' {
			return 0, p.errorf("surrogate %U alone", r)
		}
		p.at++
		low, err := p.unit()
		if err != nil {
			return 0, err
		}
		pair := utf16.DecodeRune(r, low)
		if pair == utf8.RuneError {
			return 0, p.errorf("surrogates %U and %U are no pair", r, low)
		}
		r = pair
	}
	if noncharacter(r) {
		return 0, p.errorf("noncharacter %U", r)
	}
	return r, nil
}

// unit reads the u and four digits of an escape.
func (p *parser) unit() (rune, error) {
	p.at++ // the u
	var r rune
	for range 4 {
		c := p.peek()
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, p.unexpected("a hexadecimal digit")
		}
		r = r<<4 | rune(c)
		p.at++
	}
	return r, nil
}

func (p *parser) number() (any, error) {
	start := p.at
	if p.peek() == '-' {
		p.at++
	}
	zero := p.peek() == '0'
	if n := p.digits(); n == 0 {
		return nil, p.unexpected("a digit")
	} else if zero && n > 1 {
		p.at = start
		return nil, p.errorf("a number begins with 0")
	}
	if p.peek() == '.' {
		p.at++
		if p.digits() == 0 {
			return nil, p.unexpected("a digit")
		}
	}
	if p.peek()|0x20 == 'e' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if p.digits() == 0 {
			return nil, p.unexpected("a digit")
		}
	}
	n := number(p.b[start:p.at])
	if f, err := strconv.ParseFloat(string(n), 64); err != nil || math.IsInf(f, 0) {
		p.at = start
		return nil, p.errorf("a number beyond those of IEEE 754")
	}
	return n, nil
}

func (p *parser) digits() (n int) {
	for '0' <= p.peek() && p.peek() <= '9' {
		p.at++
		n++
	}
	return n
}
