package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"servidor-backup/schemas"
)

// say is a library's sentence in the user's language: the text of its reason, or the sentence as it
// is if it has none that this program knows.
func (x *texts) say(s schemas.Sentence) string {
	if text, known := x.reason(s.Reason, s.Values); known {
		return text
	}
	return s.Text
}

// tell is an error in the user's language. known reports whether it is, as a whole or in the part
// that says what happened; otherwise the text is the error's own.
func (x *texts) tell(err error) (text string, known bool) {
	if all := joined(err); all != nil {
		var texts []string
		for _, err := range all {
			one, ok := x.tell(err)
			texts, known = append(texts, one), known || ok
		}
		return strings.Join(texts, "\n"), known
	}
	var caused *schemas.Caused
	var e *schemas.Error
	switch {
	case errors.As(err, &caused):
		if text, known = x.reason(caused.What.Reason, caused.What.Values); known {
			cause, _ := x.tell(caused.Cause)
			return x.within(err, caused, text+": "+cause), true
		}
	case errors.As(err, &e):
		if text, known = x.reason(e.Reason, e.Values); known {
			return x.within(err, e, text), true
		}
	}
	return x.system(err)
}

// told is tell for a text that stands alone.
func (x *texts) told(err error) string {
	text, _ := x.tell(err)
	return text
}

// joined are the errors of an errors.Join, or nil.
func joined(err error) []error {
	all, ok := err.(interface{ Unwrap() []error })
	if !ok || !strings.Contains(err.Error(), "\n") {
		return nil
	}
	return all.Unwrap()
}

// within puts text in the place of inner's own in err. What stands around that is in English, and
// is left out of other languages.
func (x *texts) within(err, inner error, text string) string {
	if x.lang != "en" {
		return text
	}
	return strings.Replace(err.Error(), inner.Error(), text, 1)
}

// reason is the text of a reason, with the values in the user's format. It is not known if there
// is no such text, or if it needs a value that is not there: the reason is of another version.
func (x *texts) reason(reason string, values map[string]string) (text string, known bool) {
	if reason == "" {
		return "", false
	}
	args := make([]any, 0, 2*len(values))
	for name, value := range values {
		args = append(args, placeholderName(name), x.value(name, value))
	}
	text = x.optional("reason."+reason, args...)
	return text, text != "" && !strings.Contains(text, "<no value>")
}

// placeholderName is the name of a value in the texts: FreeBytes for free-bytes.
func placeholderName(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// value is a value of a sentence in the user's language. Its name says what it is.
func (x *texts) value(name, value string) string {
	switch {
	case strings.HasSuffix(name, "bytes"):
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return x.size(n)
		}
	case strings.HasSuffix(name, "time"):
		if d, err := time.ParseDuration(value); err == nil {
			return x.took(d)
		}
	case name == "state":
		return x.word(value)
	case name == "others": // " (NAME: WORD, NAME: WORD)", or nothing
		nodes := strings.Split(strings.TrimSuffix(value, ")"), ", ")
		for i, node := range nodes {
			if at := strings.LastIndex(node, ": "); at >= 0 {
				nodes[i] = node[:at+2] + x.word(node[at+2:])
			}
		}
		if value != "" {
			return strings.Join(nodes, ", ") + ")"
		}
	}
	return value
}

// word is a stable word in the user's language, or the word itself.
func (x *texts) word(word string) string {
	if text := x.optional("word." + word); text != "" {
		return text
	}
	return word
}

type systemError struct {
	is  error
	key string
}

// systemErrors are the errors of the operating system that users meet.
var systemErrors = []systemError{
	{syscall.ENOTDIR, "system.not-folder"},
	{syscall.EISDIR, "system.is-folder"},
	{syscall.ENOSPC, "system.no-space"},
	{syscall.EIO, "system.input-output"},
	{syscall.EROFS, "system.read-only"},
	{syscall.EMFILE, "system.too-many-open"},
	{syscall.ECONNREFUSED, "system.refused"},
	{fs.ErrNotExist, "system.not-exist"},
	{fs.ErrPermission, "system.permission"},
	{fs.ErrExist, "system.exist"},
	{os.ErrDeadlineExceeded, "system.timeout"},
	{context.DeadlineExceeded, "system.timeout"},
}

// system is tell for an error of the operating system.
func (x *texts) system(err error) (text string, known bool) {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return err.Error(), false
	}
	for _, s := range systemErrors {
		if !errors.Is(number, s.is) {
			continue
		}
		text = x.t(s.key)
		if path, alone := err.(*fs.PathError); alone && x.lang != "en" {
			return path.Path + ": " + text, true
		}
		// What stands around it says to what it happened.
		return strings.Replace(err.Error(), number.Error(), text, 1), true
	}
	return err.Error(), false
}
