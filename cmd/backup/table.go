package main

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// table lays out rows of cells in columns that are as wide as their widest
// cell, two spaces apart.
type table struct {
	right map[int]bool // columns that are flush right
	rows  [][]string
}

// newTable makes a table with a head. A name that begins with '>' is flush
// right, as is its column.
func newTable(head ...string) *table {
	t := &table{right: map[int]bool{}}
	for i, name := range head {
		if name, ok := strings.CutPrefix(name, ">"); ok {
			t.right[i], head[i] = true, name
		}
	}
	t.add(head...)
	return t
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table through printf-like line, without trailing spaces.
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
	for _, row := range t.rows {
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
		line(strings.TrimRight(b.String(), " "))
	}
}
