package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The phases of a round, in their order.
const (
	phaseFirst     = "first"
	phaseUnchanged = "unchanged"
	phaseMutated   = "mutated"
	phaseRestore   = "restore"
)

var phases = []string{phaseFirst, phaseUnchanged, phaseMutated, phaseRestore}

// resultOK is the result of a row that counts.
const resultOK = "ok"

// A row is one measurement, a line of the CSV. Numbers are -1 where there is none.
type row struct {
	time   string // when it began
	round  int
	order  int // of the peer in its round, from 1
	set    string
	peer   string
	phase  string
	result string // resultOK, or what went wrong

	wall, clientCPU, serverCPU, syncing float64 // s
	clientMem, serverMem                float64 // peak, MiB
	stored, sent, source                float64 // bytes
}

// A table is a kind of CSV file: its columns, each with its place in a line, which
// is a *string, an *int or a *float64.
type table[T any] []column[T]

type column[T any] struct {
	name string
	at   func(*T) any
}

// runTable is what "bench run" measured.
var runTable = table[row]{
	{"time", func(r *row) any { return &r.time }},
	{"round", func(r *row) any { return &r.round }},
	{"order", func(r *row) any { return &r.order }},
	{"set", func(r *row) any { return &r.set }},
	{"peer", func(r *row) any { return &r.peer }},
	{"phase", func(r *row) any { return &r.phase }},
	{"wall_s", func(r *row) any { return &r.wall }},
	{"client_cpu_s", func(r *row) any { return &r.clientCPU }},
	{"server_cpu_s", func(r *row) any { return &r.serverCPU }},
	{"sync_s", func(r *row) any { return &r.syncing }},
	{"client_peak_mib", func(r *row) any { return &r.clientMem }},
	{"server_peak_mib", func(r *row) any { return &r.serverMem }},
	{"stored_bytes", func(r *row) any { return &r.stored }},
	{"sent_bytes", func(r *row) any { return &r.sent }},
	{"source_bytes", func(r *row) any { return &r.source }},
	{"result", func(r *row) any { return &r.result }},
}

// newRow is a row of what was measured.
func newRow(m measured, err error) row {
	r := row{
		time: time.Now().UTC().Format(time.RFC3339), result: resultOK,
		wall: m.wall.Seconds(), clientCPU: m.clientCPU.Seconds(), serverCPU: m.serverCPU.Seconds(), syncing: m.syncing.Seconds(),
		clientMem: float64(m.clientMem) / mib, serverMem: float64(m.serverMem) / mib,
		stored: -1, sent: float64(m.sent), source: -1,
	}
	if err != nil {
		r.result = strings.Join(strings.Fields(err.Error()), " ")
	}
	return r
}

func (r row) String() string {
	return fmt.Sprintf("%-8s %-18s %-9s %7.2f s, cpu %6.2f + %5.2f s, peak %4.0f + %4.0f MiB, sync %.2f s, %s",
		r.set, r.peer, r.phase, r.wall, r.clientCPU, r.serverCPU, r.clientMem, r.serverMem, r.syncing, r.result)
}

// results is a CSV file that lines are appended to. Those that begin with # tell
// of the machine and the programs.
type results[T any] struct {
	f     *os.File
	table table[T]
}

// open opens a file to append to, which is new or has the table's columns.
func (t table[T]) open(path string) (*results[T], error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range t {
		names = append(names, c.name)
	}
	header, err := csv.NewReader(f).Read()
	switch {
	case errors.Is(err, io.EOF):
		err = writeRecord(f, names)
	case err == nil && !slices.Equal(header, names):
		err = fmt.Errorf("%s has other columns: remove it, or name another file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &results[T]{f, t}, nil
}

// remark writes facts about the run.
func (x *results[T]) remark(facts ...remark) error {
	for _, r := range facts {
		if _, err := fmt.Fprintf(x.f, "# %s: %s\n", r.key, strings.Join(strings.Fields(r.value), " ")); err != nil {
			return err
		}
	}
	return nil
}

// add writes a line at once, so that it survives whatever comes.
func (x *results[T]) add(r T) error {
	var record []string
	for _, c := range x.table {
		switch v := c.at(&r).(type) {
		case *string:
			record = append(record, *v)
		case *int:
			record = append(record, strconv.Itoa(*v))
		case *float64:
			text := ""
			if *v >= 0 {
				text = strconv.FormatFloat(*v, 'f', 3, 64)
				text = strings.TrimSuffix(text, ".000")
			}
			record = append(record, text)
		}
	}
	return writeRecord(x.f, record)
}

func (x *results[T]) Close() error { return x.f.Close() }

func writeRecord(w io.Writer, record []string) error {
	c := csv.NewWriter(w)
	if err := c.Write(record); err != nil {
		return err
	}
	c.Flush()
	return c.Error()
}

// remark is a fact about a run.
type remark struct{ key, value string }

// read reads a file: its lines, and its remarks without repetitions.
func (t table[T]) read(path string) (rows []T, remarks []remark, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	for line := range strings.Lines(string(text)) {
		if said, found := strings.CutPrefix(line, "# "); found {
			key, value, _ := strings.Cut(strings.TrimSpace(said), ": ")
			if r := (remark{key, value}); !slices.Contains(remarks, r) {
				remarks = append(remarks, r)
			}
		}
	}
	c := csv.NewReader(strings.NewReader(string(text)))
	c.Comment = '#'
	header, err := c.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return rows, remarks, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		r, err := t.parse(header, record)
		if err != nil {
			line, _ := c.FieldPos(0)
			return nil, nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		rows = append(rows, r)
	}
}

func (t table[T]) parse(header, record []string) (r T, err error) {
	for _, c := range t {
		i := slices.Index(header, c.name)
		text := ""
		if i >= 0 {
			text = record[i]
		}
		switch v := c.at(&r).(type) {
		case *string:
			*v = text
		case *int:
			*v, err = strconv.Atoi(text)
		case *float64:
			if *v = -1; text != "" {
				*v, err = strconv.ParseFloat(text, 64)
			}
		}
		if err != nil {
			return r, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return r, nil
}
