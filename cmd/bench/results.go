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

// The phases of a round.
const (
	phaseFirst     = "first"
	phaseUnchanged = "unchanged"
	phaseMutated   = "mutated"
	phaseRestore   = "restore"
)

// phases are the phases in the order in which they run.
var phases = []string{phaseFirst, phaseUnchanged, phaseMutated, phaseRestore}

// resultOK is the result of a successful measurement.
const resultOK = "ok"

// A row is one measurement and one line of the CSV. A number is -1 if there is no value.
type row struct {
	time   string // end of the measurement, in UTC
	round  int
	order  int // position of the peer in its round, from 1
	set    string
	peer   string
	phase  string
	result string // resultOK or the error

	wall, clientCPU, serverCPU, syncing float64 // s
	clientMem, serverMem                float64 // peaks, MiB
	stored, sent, source                float64 // bytes
}

// A table describes a kind of CSV file whose lines are of type T. The function field of a
// column returns a pointer to its field of a line: a *string, an *int or a *float64.
type table[T any] []column[T]

type column[T any] struct {
	name  string
	field func(*T) any
}

// runTable is the table of "bench run".
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

// newRow returns a row with the measured values and the error, if any.
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

// results is a CSV file that is open for appending. Lines that begin with # are remarks
// about the machine and the programs.
type results[T any] struct {
	f     *os.File
	table table[T]
}

// open opens a CSV file for appending, or makes it. An existing file must have the same
// columns.
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
		err = fmt.Errorf("%s has different columns: remove it, or choose another file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &results[T]{f, t}, nil
}

// remark writes remarks about the run.
func (x *results[T]) remark(facts ...remark) error {
	for _, r := range facts {
		if _, err := fmt.Fprintf(x.f, "# %s: %s\n", r.key, strings.Join(strings.Fields(r.value), " ")); err != nil {
			return err
		}
	}
	return nil
}

// add writes a line without buffering, so that it is in the file if bench fails later.
func (x *results[T]) add(r T) error {
	var record []string
	for _, c := range x.table {
		switch v := c.field(&r).(type) {
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

// A remark is a fact about a run.
type remark struct{ key, value string }

// read reads a CSV file: its lines, and its remarks without duplicates.
func (t table[T]) read(path string) (rows []T, remarks []remark, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	for line := range strings.Lines(string(text)) {
		if text, found := strings.CutPrefix(line, "# "); found {
			key, value, _ := strings.Cut(strings.TrimSpace(text), ": ")
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

// parse converts one record. If a column is missing, a text is empty and a float is -1;
// a missing integer is an error.
func (t table[T]) parse(header, record []string) (r T, err error) {
	for _, c := range t {
		i := slices.Index(header, c.name)
		text := ""
		if i >= 0 {
			text = record[i]
		}
		switch v := c.field(&r).(type) {
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
