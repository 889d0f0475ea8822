package main

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// number writes n with the language's thousands separator.
func (x *texts) number(n int64) string { return x.numbers.Sprintf("%d", n) }

// size writes bytes with three digits or so and a decimal unit: 1 kB is 1000 B.
func (x *texts) size(n int64) string {
	const units = "kMGTPE"
	if n < 1000 && n > -1000 {
		return x.numbers.Sprintf("%d B", n)
	}
	v, i := float64(n)/1000, 0
	// 999.5 and more would be written as 1000 of the smaller unit.
	for ; i < len(units)-1 && (v >= 999.5 || v <= -999.5); i++ {
		v /= 1000
	}
	if v < 99.95 && v > -99.95 {
		return x.numbers.Sprintf("%.1f %cB", v, units[i])
	}
	return x.numbers.Sprintf("%.0f %cB", v, units[i])
}

// rate writes bytes per second.
func (x *texts) rate(bytes int64, d time.Duration) string {
	if d <= 0 {
		return x.size(bytes) + "/s"
	}
	return x.size(int64(float64(bytes)/d.Seconds())) + "/s"
}

// took writes how long something took.
func (x *texts) took(d time.Duration) string {
	switch {
	case d < time.Second:
		return x.numbers.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return x.numbers.Sprintf("%.1f s", d.Seconds())
	}
	return clock(d)
}

// clock writes d as M:SS or H:MM:SS.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	text := pad2(s/60%60) + ":" + pad2(s%60)
	if h := s / 3600; h > 0 {
		return strconv.FormatInt(h, 10) + ":" + text
	}
	return strings.TrimPrefix(text, "0")
}

func pad2(n int64) string {
	if n < 10 {
		return "0" + strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10)
}

// when writes a time, given in Unix nanoseconds, for people.
func (a *app) when(ns int64) string {
	return time.Unix(0, ns).In(a.env.zone).Format("2006-01-02 15:04")
}

// stamp writes a time, given in Unix nanoseconds, for programs.
func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// show is a name or path as it goes to stdout: as it is for programs, and such
// that it cannot command a terminal.
func (a *app) show(path string) string {
	if a.outTerm {
		return quotePath(path)
	}
	return path
}

// quotePath writes a path that a terminal might take for something else, or
// that is not valid UTF-8, as a quoted string with escapes.
func quotePath(path string) string {
	if path == "" || path[0] == '"' || !utf8.ValidString(path) || strings.ContainsFunc(path, unprintable) {
		return strconv.Quote(path)
	}
	return path
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// exactBytes are a path's bytes where JSON, which is UTF-8, cannot carry them.
func exactBytes(path string) []byte {
	if utf8.ValidString(path) {
		return nil
	}
	return []byte(path)
}
