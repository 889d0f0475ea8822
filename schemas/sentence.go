package schemas

import (
	"errors"
	"fmt"
	"strings"
)

// Sentence is a text for people that a program can also say in another language.
type Sentence struct {
	Text   string            // in English; "" is no sentence
	Reason string            // stable word for what Text says; "" if there is only Text
	Values map[string]string // what Text has at its places, by name
}

// Say returns a sentence. text has "{name}" where a value stands. values are pairs of a name and
// a value. A number of bytes has a name that ends in "bytes", a time one that ends in "time".
func Say(reason, text string, values ...any) Sentence {
	s := Sentence{Text: text, Reason: reason}
	if len(values) == 0 {
		return s
	}
	s.Values = make(map[string]string, len(values)/2)
	places := make([]string, 0, len(values))
	for i := 0; i+1 < len(values); i += 2 {
		name, value := values[i].(string), fmt.Sprint(values[i+1])
		s.Values[name] = value
		places = append(places, "{"+name+"}", value)
	}
	s.Text = strings.NewReplacer(places...).Replace(text)
	return s
}

// SayOthers is the value "others": nothing, or a list of nodes in parentheses. Each of nodes is
// "NAME: WORD", with a [State], a [Code] or "silent" as the word.
func SayOthers(nodes []string) string {
	if len(nodes) == 0 {
		return ""
	}
	return " (" + strings.Join(nodes, ", ") + ")"
}

// Explain returns an *[Error] with a sentence as [Say] makes it. The code is "" for an error that
// programs need not tell from others.
func Explain(code Code, reason, text string, values ...any) *Error {
	s := Say(reason, text, values...)
	return &Error{Code: code, Message: s.Text, Reason: s.Reason, Values: s.Values}
}

// Caused is an error with its cause.
type Caused struct {
	What  *Error
	Cause error
}

// Because returns e with its cause, whose code e takes if it has none.
func (e *Error) Because(cause error) error {
	e.takeCode(cause)
	return &Caused{What: e, Cause: cause}
}

func (e *Error) takeCode(cause error) {
	if e.Code == "" {
		e.Code = CodeOf(cause)
	}
}

func (c *Caused) Error() string   { return c.What.Error() + ": " + c.Cause.Error() }
func (c *Caused) Unwrap() []error { return []error{c.What, c.Cause} }

// WithKind makes errors.Is(e, kind) true, without another word in the sentence, and returns e. If e has
// no code, it takes that of kind.
func (e *Error) WithKind(kind error) *Error {
	e.takeCode(kind)
	e.kind = kind
	return e
}

func (e *Error) Unwrap() error { return e.kind }

// sentenceOf is the sentence of the first *Error in err's chain that has a reason.
func sentenceOf(err error) (reason string, values map[string]string) {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason, e.Values
	}
	return "", nil
}
