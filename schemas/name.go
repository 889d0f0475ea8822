package schemas

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the largest length of a nickname or a record name, in bytes.
const MaxName = 1024

// CheckNickname reports why s cannot be a nickname, with the code [BadName].
func CheckNickname(s string) error { return checkName("nickname", s) }

// CheckRecord reports why s cannot be a record's name, with the code [BadName].
// The rules are those of nicknames, and in addition a record's name may not end in "@" and
// digits, because a version's id does.
func CheckRecord(s string) error {
	if err := checkName("name", s); err != nil {
		return err
	}
	if _, n, ok := splitVersion(s); ok {
		return Explain(BadName, "name-like-version", "the name \"{name}\" ends like a version's id (@{number}): choose another name", "name", s, "number", n)
	}
	return nil
}

func checkName(what, s string) error {
	switch {
	case s == "":
		return Explain(BadName, "name-empty", "the {what} is empty", "what", what)
	case len(s) > MaxName:
		return Explain(BadName, "name-long", "the {what} has {bytes} bytes, at most {limit-bytes} are allowed", "what", what, "bytes", len(s), "limit-bytes", MaxName)
	case !utf8.ValidString(s):
		return Errorf(BadName, "the %s %q is not valid UTF-8", what, s)
	case s == "." || s == "..":
		return Explain(BadName, "name-of-dots", "the {what} \"{name}\" is not allowed", "what", what, "name", s)
	case strings.ContainsRune(s, '/'):
		return Explain(BadName, "name-with-slash", "the {what} \"{name}\" contains \"/\", which is not allowed", "what", what, "name", s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return Errorf(BadName, "the %s %q contains a control character, which is not allowed", what, s)
	}
	return nil
}

// VersionID formats a version's id: NAME@NUMBER.
func VersionID(record string, number uint64) string {
	return record + "@" + strconv.FormatUint(number, 10)
}

// ParseVersionID parses NAME@NUMBER, or NAME alone, for which it returns the number 0: the
// newest version. Errors have the code [BadName].
func ParseVersionID(s string) (record string, number uint64, err error) {
	record, number, ok := splitVersion(s)
	if !ok {
		record, number = s, 0
	} else if number == 0 {
		return "", 0, Explain(BadName, "version-zero", "\"{version}\" names version 0: versions begin at 1", "version", s)
	}
	return record, number, CheckRecord(record)
}

func splitVersion(s string) (record string, number uint64, ok bool) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 || at == len(s)-1 {
		return s, 0, false
	}
	for _, c := range []byte(s[at+1:]) {
		if c < '0' || c > '9' {
			return s, 0, false
		}
	}
	number, err := strconv.ParseUint(s[at+1:], 10, 64)
	return s[:at], number, err == nil
}
