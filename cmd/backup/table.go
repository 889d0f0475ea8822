package main

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// table prints rows of cells in columns. A column is as wide as its widest cell; columns are
// two spaces apart.
type table struct {
	right  map[int]bool // right-aligned columns
	rows   [][]string
	colors map[int]color // of rows
}

// newTable makes a table with a head. A column whose name begins with '>' is right-aligned.
func newTable(head ...string) *table {
	t := &table{right: map[int]bool{}, colors: map[int]color{}}
	for i, name := range head {
		if name, ok := strings.CutPrefix(name, ">"); ok {
			t.right[i], head[i] = true, name
		}
	}
	t.add(head...)
	return t
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print passes each row to line, without trailing spaces.
func (t *table) print(line func(string)) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	for r, row := range t.rows {
		var b strings.Builder
		for i, cell := range row {
			gap := strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell))
			if t.right[i] {
				b.WriteString(gap + cell)
			} else {
				b.WriteString(cell + gap)
			}
			b.WriteString("  ")
		}
		line(t.colors[r].paint(strings.TrimRight(b.String(), " ")))
	}
}
