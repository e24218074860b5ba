package addinfo

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseJSON(t *testing.T) {
	tests := []struct {
		name, body string
		want       object
	}{
		{"empty", ` {} `, object{}},
		{"values", "{\"a\":true,\"b\":false,\"c\":null,\"d\":[],\"e\":[1,\t-2.5e+3 , 0],\r\n\"f\":{\"g\":\"h\"}}", object{
			"a": true, "b": false, "c": nil, "d": []any{}, "e": []any{number("1"), number("-2.5e+3"), number("0")}, "f": object{"g": "h"},
		}},
		{"escapes", `{"\u0061":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"}`, object{"a": "\"\\/\b\f\n\r\té😀é"}},
		{"same name at two levels", `{"a":{"a":1}}`, object{"a": object{"a": number("1")}}},
		{"as deep as allowed", `{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`, nil},
		{"as long as allowed", `{}` + strings.Repeat(" ", MaxBody-2), object{}},
	}
	for _, tt := range tests {
		got, fault := parseJSON([]byte(tt.body))
		if fault != nil || tt.want != nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %#v, %v, want %#v", tt.name, got, fault, tt.want)
		}
	}
}

func TestParseJSONRefuses(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"nothing", ``, "it ends where a value is expected"},
		{"an array", `[]`, "an array, want an object"},
		{"a string", `"x"`, "a string, want an object"},
		{"a number", `7`, "a number, want an object"},
		{"a boolean", `true`, "a boolean, want an object"},
		{"null", `null`, "null, want an object"},
		{"half a literal", `{"a":tru}`, "'t' where a value"},
		{"two objects", `{}{}`, "something follows"},
		{"trailing comma in an object", `{"a":1,}`, "'}' where a name"},
		{"trailing comma in an array", `{"a":[1,]}`, "']' where a value"},
		{"no comma", `{"a":1 "b":2}`, `where a comma or '}'`},
		{"no colon", `{"a" 1}`, "where a colon"},
		{"a name without quotes", `{a:1}`, "'a' where a name"},
		{"single quotes", `{'a':1}`, "where a name"},
		{"a comment", `{/* */}`, "where a name"},
		{"byte order mark", "\ufeff{}", "where a value"},
		{"a zero octet", "{}\x00", "something follows"},
		{"open object", `{"a":1`, "it ends"},
		{"open array", `{"a":[`, "it ends"},
		{"open string", `{"a`, "it ends within a string"},
		{"open escape", `{"a\`, "it ends"},
		{"open unicode escape", `{"\u12`, "it ends"},
		{"a name twice", `{"a":1,"b":2,"a":3}`, `name "a" stands twice`},
		{"a name twice, once escaped", `{"a":1,"\u0061":3}`, `name "a" stands twice`},
		{"a name twice below", `{"x":[{"a":1,"a":1}]}`, `name "a" stands twice`},
		{"not UTF-8", "{\"a\":\"\xff\"}", "not UTF-8"},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "not UTF-8"},
		{"overlong", "{\"a\":\"\xc0\xaf\"}", "not UTF-8"},
		{"high surrogate alone", `{"a":"\ud83d"}`, "surrogate U+D83D alone"},
		{"low surrogate alone", `{"a":"\ude00"}`, "surrogate U+DE00 alone"},
		{"two high surrogates", `{"a":"\ud83d\ud83d"}`, "are no pair"},
		{"escaped noncharacter", `{"a":"\uffff"}`, "noncharacter U+FFFF"},
		{"noncharacter", "{\"a\":\"\ufdd0\"}", "noncharacter U+FDD0"},
		{"noncharacter of another plane", `{"a":"\ud83f\udffe"}`, "noncharacter U+1FFFE"},
		{"line feed in a string", "{\"a\":\"\n\"}", "control character 0x0a"},
		{"unknown escape", `{"a":"\x41"}`, "where an escape"},
		{"bad digit in an escape", `{"a":"\u00g0"}`, "hexadecimal digit"},
		{"leading zero", `{"a":01}`, "begins with 0"},
		{"leading plus", `{"a":+1}`, "where a value"},
		{"no digit", `{"a":-}`, "where a digit"},
		{"no digit after the point", `{"a":1.}`, "where a digit"},
		{"no digit in the exponent", `{"a":1e}`, "where a digit"},
		{"hexadecimal", `{"a":0x1}`, "where a comma"},
		{"not a number", `{"a":NaN}`, "where a value"},
		{"greater than a double", `{"a":1e400}`, "beyond those of IEEE 754"},
		{"too deep", `{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, "nested deeper than 16"},
	}
	for _, tt := range tests {
		_, fault := parseJSON([]byte(tt.body))
		if fault == nil || fault.Reason != BadJSON || !strings.Contains(fault.Error(), tt.want) {
			t.Errorf("%s: %v, want one with %q", tt.name, fault, tt.want)
		}
	}
	_, fault := parseJSON([]byte(`{}` + strings.Repeat(" ", MaxBody-1)))
	if fault.reason() != TooLarge {
		t.Errorf("one octet too long: %v, want %q", fault, TooLarge)
	}
}

// agree reports whether what parseJSON made of a body is what encoding/json makes of it.
func agree(t *testing.T, body []byte, got object) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	var want map[string]any
	if err := d.Decode(&want); err != nil {
		t.Fatalf("%q was accepted, encoding/json: %v", body, err)
	}
	if plain := plain(got); !reflect.DeepEqual(plain, want) {
		t.Fatalf("%q is %#v, encoding/json: %#v", body, plain, want)
	}
}

// plain returns a value as encoding/json has it.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = plain(e)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i, e := range v {
			a[i] = plain(e)
		}
		return a
	case number:
		return json.Number(v)
	}
	return v
}
