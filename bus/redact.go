package bus

import (
	"regexp"
	"strings"
)

// hidden replaces the credentials of an address.
const hidden = "***"

// Redact returns NATS addresses, separated by commas, without their credentials: in place of
// user and password, or of a token, each has "***". It also takes addresses that cannot be
// parsed, and then hides more rather than less. Whatever shows, logs or stores an address must
// pass it through Redact or [RedactText].
func Redact(addresses string) string {
	// A comma may belong to a password, so only one before a scheme surely ends an address.
	var out strings.Builder
	begin := 0
	for _, at := range anotherAddress.FindAllStringIndex(addresses, -1) {
		out.WriteString(redactOne(addresses[begin:at[0]]) + ",")
		begin = at[0] + 1
	}
	out.WriteString(redactOne(addresses[begin:]))
	return out.String()
}

var (
	scheme         = regexp.MustCompile(`(?i)^\s*(nats|tls|wss?)://`)
	anotherAddress = regexp.MustCompile(`(?i),\s*(nats|tls|wss?)://`)
)

// redactOne is Redact for one address, or for one and further ones without a scheme.
func redactOne(address string) string {
	prefix := scheme.FindString(address)
	rest := address[len(prefix):]
	// A password may contain any character, unless it is escaped: the last @ ends it.
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		return prefix + hidden + rest[i:]
	}
	list := strings.Split(rest, ",")
	for i, host := range list {
		path, query, _ := strings.Cut(host, "?")
		if hasWord(path) {
			list[i] = hidden
		} else if query != "" {
			list[i] = path + "?" + hidden
		}
	}
	return prefix + strings.Join(list, ",")
}

// hasWord reports whether host is USER:PASSWORD without a host, which looks like a host with a
// port that is no number.
func hasWord(host string) bool {
	host, _, _ = strings.Cut(host, "/")
	host = strings.TrimRight(host, `"'.;:)}>`) // the text around the address
	i := strings.LastIndexByte(host, ':')
	port := host[i+1:]
	// Help and hints say nats://HOST:PORT.
	return i >= 0 && strings.Trim(port, "0123456789") != "" && port != "PORT" && !strings.HasPrefix(host, "[")
}

// inText finds addresses with a scheme in a text.
var inText = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://\S+`)

// RedactText is [Redact] for the addresses in a text, such as an error or a line of a log. It
// finds them by their "://".
func RedactText(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	return inText.ReplaceAllStringFunc(text, Redact)
}
