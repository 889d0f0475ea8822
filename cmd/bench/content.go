package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"
)

// noise is a source of random bytes and numbers. The same name gives the same
// sequence on every machine.
type noise struct {
	*rand.Rand
	source *rand.ChaCha8
}

func newNoise(name string) noise {
	source := rand.NewChaCha8(sha256.Sum256([]byte("bench " + name)))
	return noise{rand.New(source), source}
}

// Read fills p with incompressible bytes. It never fails.
func (n noise) Read(p []byte) (int, error) { return n.source.Read(p) }

// bytes returns size random bytes in a new slice.
func (n noise) bytes(size int) []byte {
	p := make([]byte, size)
	_, _ = n.source.Read(p) // ChaCha8.Read always returns a nil error
	return p
}

// below returns a random number in [0,limit), or 0 if limit is 0 or less.
func (n noise) below(limit int64) int64 {
	if limit <= 0 {
		return 0
	}
	return n.Int64N(limit)
}

// logUniform returns a random number in [low,high) whose logarithm is uniform.
func (n noise) logUniform(low, high float64) int {
	return int(low * math.Exp(n.Float64()*math.Log(high/low)))
}

// prose returns 4 MiB of random words with spaces between them, for cut.
func prose(n noise) []byte {
	const vocabulary, length = 4000, 4 << 20
	words := make([][]byte, vocabulary)
	for i := range words {
		words[i] = make([]byte, 2+n.IntN(8))
		for j := range words[i] {
			words[i][j] = byte('a' + n.IntN(26))
		}
	}
	text := make([]byte, 0, length+16)
	for len(text) < length {
		text = append(append(text, words[n.IntN(vocabulary)]...), ' ')
	}
	return text[:length]
}

// cut returns size bytes of text from a random offset. The result shares memory with text.
func cut(n noise, text []byte, size int) []byte {
	start := n.IntN(len(text) - size)
	return text[start : start+size]
}

// The parts of log lines. Frequent values are listed more than once.
var (
	logServices = []string{"checkout", "catalog", "identity", "payments", "shipping", "search", "notifier", "gateway"}
	logLevels   = []string{"info", "info", "info", "info", "info", "info", "info", "debug", "warn", "error"}
	logMethods  = []string{"GET", "GET", "GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE"}
	logPaths    = []string{"/api/items/%d", "/api/carts/%d/lines", "/api/users/%d/orders", "/assets/bundle.%05x.css",
		"/login?next=%d", "/search?term=%x&sort=price", "/healthz", "/internal/queue/%d/ack"}
	logCodes    = []int{200, 200, 200, 200, 200, 201, 204, 302, 304, 404, 409, 500}
	logMessages = []string{"request served", "served from cache", "cache refreshed in the background", "the client went away before the answer was complete",
		"slow statement, see the trace", "retry after a timeout of the upstream", "session renewed", "message put into the queue",
		"rate limit reached, request delayed", "configuration reloaded"}
)

// writeLog writes log lines of a busy shop: whole lines, size bytes or a little more.
// Ids, addresses, sizes and times are random, and the rest repeats. zstd makes the
// text about 4.5 times smaller.
func writeLog(w io.Writer, n noise, start time.Time, size int64) error {
	out := bufio.NewWriterSize(w, 1<<20)
	now := start
	line := make([]byte, 0, 512)
	for written := int64(0); written < size; written += int64(len(line)) {
		now = now.Add(time.Duration(n.IntN(60_000)) * time.Microsecond)
		path := pick(n, logPaths)
		if path != "/healthz" {
			path = fmt.Sprintf(path, n.IntN(50_000))
		}
		service := n.IntN(len(logServices))
		line = now.AppendFormat(line[:0], "2006-01-02T15:04:05.000000Z")
		line = fmt.Appendf(line, " level=%s service=%s pod=%s-%02d.zone-%c.shop.example trace=%016x%016x span=%016x client=172.%d.%d.%d %s %s status=%d bytes=%d took=%.2fms msg=%q\n",
			pick(n, logLevels), logServices[service], logServices[service], n.IntN(12), 'a'+rune(service%3), n.Uint64(), n.Uint64(), n.Uint64(),
			16+n.IntN(16), n.IntN(256), n.IntN(256), pick(n, logMethods), path, pick(n, logCodes),
			n.logUniform(80, 40_000), float64(n.logUniform(20, 90_000))/100, pick(n, logMessages))
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}

// pick returns a random element.
func pick[T any](n noise, from []T) T { return from[n.IntN(len(from))] }
