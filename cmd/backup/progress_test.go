package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"servidor-backup/client"
)

// steps advances a transfer by 30 MB and 3 entries per second.
func steps(c *cli, seconds int) func(p *client.Progress) {
	return func(p *client.Progress) {
		c.backend.status("waiting for the server")
		c.backend.status("waiting for the server")
		p.TotalFiles.Store(300)
		p.TotalBytes.Store(3_000_000_000)
		<-time.After(time.Second / 2) // so that no step coincides with a line
		for i := range seconds {
			p.Counted.Store(i >= 12)
			p.Files.Add(3)
			p.Bytes.Add(30_000_000)
			<-time.After(time.Second)
		}
		c.backend.status("")
	}
}

func TestProgressLines(t *testing.T) {
	c := filled(t)
	c.backend.during, c.backend.takes = steps(c, 25), 0
	c.expect(t, exitDone, "transmit", "x")
	want := []string{
		"waiting for the server",
		"30 entries, 300 MB, 30.0 MB/s",
		"60 entries, 600 MB of 3.0 GB, 30.0 MB/s, 1:20 left",
	}
	if got := strings.Split(strings.TrimSpace(c.err.String()), "\n"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", got, want)
	}
	c.expect(t, exitDone, "transmit", "x", "--quiet")
	if c.err.String() != "" {
		t.Errorf("with --quiet: %s", c.err.String())
	}
	c.expect(t, exitDone, "transmit", "x", "--json")
	if got := c.err.String(); got != `{"status":"waiting for the server"}`+"\n" {
		t.Errorf("with --json: %s", got)
	}
}

func TestBar(t *testing.T) {
	c := filled(t)
	c.errTerm = true
	c.backend.during, c.backend.takes = steps(c, 25), 0
	c.expect(t, exitDone, "download", "photos", "--lang", "pt")
	contains(t, c.err.String(), "60 itens, 600 MB de 3,0 GB, ", "faltam 1:2", "waiting for the server")
	c.vars["TERM"] = "dumb"
	c.expect(t, exitDone, "download", "photos")
	if strings.Contains(c.err.String(), "\x1b") {
		t.Errorf("escapes on a dumb terminal: %q", c.err.String())
	}
}

func TestMeterFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p client.Progress
		m := newMeter(newTexts("en"), &p)
		for i := range 600 {
			<-time.After(100 * time.Millisecond)
			if i < 300 {
				p.Bytes.Add(1_000_000)
			}
			m.line(time.Now())
		}
		contains(t, m.line(time.Now()), " 0 B/s")
		if len(m.samples) > 110 {
			t.Errorf("the meter has %d samples", len(m.samples))
		}
	})
}

func TestFormats(t *testing.T) {
	en, pt := newTexts("en"), newTexts("pt")
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 99_949: "99.9 kB", 99_950: "100 kB", 999_499: "999 kB",
		999_500: "1.0 MB", 1 << 62: "4.6 EB", -5: "-5 B", -2_000_000: "-2.0 MB",
	} {
		if got := en.size(n); got != want {
			t.Errorf("size %d: %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0:00", 59 * time.Second: "0:59", 61*time.Minute + 5*time.Second: "1:01:05", 12 * time.Minute: "12:00",
	} {
		if got := clock(d); got != want {
			t.Errorf("clock %v: %q, want %q", d, got, want)
		}
	}
	if got := pt.took(7*time.Millisecond) + " " + pt.took(1500*time.Millisecond) + " " + pt.rate(1500, time.Second) + " " + pt.number(1234567); got != "7 ms 1,5 s 1,5 kB/s 1.234.567" {
		t.Error(got)
	}
	for path, want := range map[string]string{
		"a b": "a b", "ação": "ação", "": `""`, `"q"`: `"\"q\""`, "a\x1b[1m": `"a\x1b[1m"`, "\xff": `"\xff"`, "\u202e": `"\u202e"`,
	} {
		if got := quotePath(path); got != want {
			t.Errorf("quotePath %q: %s, want %s", path, got, want)
		}
	}
}

// A sender that waits for one node many times for a moment is one wait, and one line.
func TestManyShortWaitsAreOneLine(t *testing.T) {
	c := filled(t)
	c.backend.takes = 0
	c.backend.during = func(*client.Progress) {
		for range 50 {
			c.backend.status("waiting for b")
			<-time.After(200 * time.Millisecond)
			c.backend.status("")
		}
		c.backend.status("waiting for c")
		<-time.After(time.Minute)
		c.backend.status("")
		<-time.After(time.Minute)
		c.backend.status("waiting for c")
		c.backend.status("")
	}
	c.expect(t, exitDone, "transmit", "x", "--json")
	want := `{"status":"waiting for b"}` + "\n" + `{"status":"waiting for c"}` + "\n" + `{"status":"waiting for c"}` + "\n"
	if got := c.err.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
