package main

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"servidor-backup/schemas"
)

// number formats n with the language's thousands separator.
func (x *texts) number(n int64) string { return x.numbers.Sprintf("%d", n) }

// size formats bytes with two or three digits and a decimal unit: 1 kB is 1000 B.
func (x *texts) size(n int64) string {
	const units = "kMGTPE"
	if n < 1000 && n > -1000 {
		return x.numbers.Sprintf("%d B", n)
	}
	v, i := float64(n)/1000, 0
	// From 999.5 on, rounding would print 1000 of the smaller unit.
	for ; i < len(units)-1 && (v >= 999.5 || v <= -999.5); i++ {
		v /= 1000
	}
	if v < 99.95 && v > -99.95 {
		return x.numbers.Sprintf("%.1f %cB", v, units[i])
	}
	return x.numbers.Sprintf("%.0f %cB", v, units[i])
}

// rate formats bytes per second.
func (x *texts) rate(bytes int64, d time.Duration) string {
	if d <= 0 {
		return x.size(bytes) + "/s"
	}
	return x.size(int64(float64(bytes)/d.Seconds())) + "/s"
}

// took formats a duration.
func (x *texts) took(d time.Duration) string {
	switch {
	case d < time.Second:
		return x.numbers.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute && d%time.Second == 0:
		return x.numbers.Sprintf("%d s", d/time.Second)
	case d < time.Minute:
		return x.numbers.Sprintf("%.1f s", d.Seconds())
	}
	return clock(d)
}

// clock formats d as M:SS or H:MM:SS.
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

// when formats a time, in Unix nanoseconds, for people.
func (c *console) when(ns int64) string {
	return time.Unix(0, ns).In(c.zone).Format("2006-01-02 15:04")
}

// stamp formats a time, in Unix nanoseconds, for programs.
func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// show is a name or path as stdout gets it: unchanged for programs; on a terminal, quoted
// if it could control the terminal.
func (c *console) show(path string) string {
	if c.outTerminal {
		return quotePath(path)
	}
	return path
}

// quotePath quotes and escapes a path that contains unprintable characters, is not valid
// UTF-8, is empty, or begins with a quote.
func quotePath(path string) string {
	if path == "" || path[0] == '"' || !utf8.ValidString(path) || strings.ContainsFunc(path, unprintable) {
		return strconv.Quote(path)
	}
	return path
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// durability explains a durability k+m.
func (x *texts) durability(d schemas.Durability) string {
	switch {
	case d.M > 0:
		return x.n("durability.safe", int64(d.M), "Durability", d.String())
	case d.K <= 1:
		return x.t("durability.one-copy", "Durability", d.String())
	}
	return x.t("durability.none", "Durability", d.String())
}
