package main

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

const (
	// plainWidth is the width of help, in columns, if its stream has none of its own.
	plainWidth = 80
	// maxWidth is the widest line of prose: longer ones are hard to read.
	maxWidth = 100
)

// textWidth is the width of prose on a stream that is columns wide; 0 stands for no terminal.
func textWidth(columns int) int {
	if columns <= 0 {
		return plainWidth
	}
	return min(columns, maxWidth)
}

// wrap breaks the lines of text between words, so that none is wider than width columns unless
// a single word is. Continuation lines begin with indent spaces more than their line.
func wrap(text string, width, indent int) string {
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		if runewidth.StringWidth(line) <= width {
			b.WriteString(line)
			continue
		}
		wrapLine(&b, line, width, indent)
	}
	return b.String()
}

func wrapLine(b *strings.Builder, line string, width, indent int) {
	margin := len(line) - len(strings.TrimLeft(line, " "))
	b.WriteString(line[:margin])
	at, first := margin, true
	for word := range strings.FieldsSeq(line) {
		w := runewidth.StringWidth(word)
		switch {
		case first:
		case at+1+w > width:
			at = margin + indent
			b.WriteString("\n" + strings.Repeat(" ", at))
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at, first = at+w, false
	}
}

// reflow joins the lines of each paragraph and wraps them again. A line that begins with a space
// is an example and stays as it is.
func reflow(text string, width int) string {
	var lines []string
	joinable := false // the last line can be continued
	for line := range strings.SplitSeq(text, "\n") {
		prose := line != "" && line[0] != ' '
		if prose && joinable {
			lines[len(lines)-1] += " " + line
		} else {
			lines = append(lines, line)
		}
		joinable = prose
	}
	for i, line := range lines {
		if line != "" && line[0] != ' ' {
			lines[i] = wrap(line, width, 0)
		}
	}
	return strings.Join(lines, "\n")
}
