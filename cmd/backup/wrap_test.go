package main

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"
)

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text   string
		width  int
		indent int
		want   string
	}{
		{"one two three", 80, 0, "one two three"},
		{"one two three", 7, 0, "one two\nthree"},
		{"  one two three", 9, 2, "  one two\n    three"},
		{"nós são três", 7, 0, "nós são\ntrês"},
		{"unbreakable", 4, 0, "unbreakable"},
		{"a\n\nb c d", 3, 0, "a\n\nb c\nd"},
		{"", 4, 0, ""},
	} {
		if got := wrap(test.text, test.width, test.indent); got != test.want {
			t.Errorf("wrap(%q, %d, %d) = %q, want %q", test.text, test.width, test.indent, got, test.want)
		}
	}
}

func TestReflowKeepsExamples(t *testing.T) {
	got := reflow("one\ntwo three\n\n  example --that is long\n\nfour", 9)
	if want := "one two\nthree\n\n  example --that is long\n\nfour"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Help fits a narrow terminal, but for examples: they are to be copied.
func TestHelpFitsTheTerminal(t *testing.T) {
	const width = 60
	for _, lang := range languages {
		c := newCLI(t)
		a := newApp([]string{"--lang", lang}, streams{strings.NewReader(""), &c.out, &c.err}, c.environment())
		var visit func(cmd *cobra.Command)
		visit = func(cmd *cobra.Command) {
			examples := map[string]bool{}
			for line := range strings.SplitSeq(longOrShort(cmd), "\n") {
				examples[line] = strings.HasPrefix(line, " ")
			}
			for line := range strings.SplitSeq(a.help(cmd, width), "\n") {
				if w := runewidth.StringWidth(line); w > width && !examples[line] {
					t.Errorf("%s, %s: %d columns: %s", cmd.CommandPath(), lang, w, line)
				}
			}
			for _, sub := range cmd.Commands() {
				visit(sub)
			}
		}
		visit(newRoot(a))
	}
}

// What is wrong has a color on a terminal, unless NO_COLOR is set; nothing else has one.
func TestColors(t *testing.T) {
	for _, test := range []struct {
		terminal bool
		noColor  string
		want     bool
	}{{true, "", true}, {true, "1", false}, {false, "", false}} {
		c := filled(t)
		c.inTerm, c.errTerm, c.vars["NO_COLOR"] = test.terminal, test.terminal, test.noColor
		c.run(t.Context(), "lisst")
		if got := strings.Contains(c.err.String(), "\x1b[31mbackup: unknown"); got != test.want {
			t.Errorf("%+v: %q", test, c.err.String())
		}
		c.run(t.Context(), "status")
		if got := strings.Contains(c.out.String(), "\x1b["); got != test.want {
			t.Errorf("%+v: %q", test, c.out.String())
		}
	}
}
