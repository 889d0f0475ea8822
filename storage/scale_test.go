package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

// BenchmarkIndexScale measures how the time of the store's steps grows with the number
// of chunks that it holds already. The environment variable INDEX_SIZES gives these
// numbers, as in INDEX_SIZES=10000,10000000. The chunks are synthetic: they are in the
// index alone. For each step it prints a line of CSV to stdout:
//
//	scale,step,chunks,ns per operation,heap in bytes
func BenchmarkIndexScale(b *testing.B) {
	sizes := "10000,100000"
	if s := os.Getenv("INDEX_SIZES"); s != "" {
		sizes = s
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(size, func(b *testing.B) {
			for range b.N {
				s := &scale{b: b, n: n, dir: b.TempDir()}
				s.run()
			}
		})
	}
}

const (
	scaleBatch   = 2000 // entries of one batch of the fill
	scaleMessage = 220
	scaleSample  = 100 // messages of each measured step
)

var scaleVault = schemas.SealedVault("scale")

// scaleID returns the id of the nth chunk of a series. It looks random and is always
// the same.
func scaleID(series uint8, n int) (id schemas.ChunkID) {
	x := uint64(n)<<8 | uint64(series)
	for i := 0; i < len(id); i += 8 {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(id[i:], z^z>>31)
	}
	return id
}

type scale struct {
	b   *testing.B
	n   int
	dir string
	s   *Store
}

func (x *scale) run() {
	x.open()
	x.step("fill", x.n, x.fill)
	x.check(x.s.Close())
	x.step("open", 1, x.open)
	x.step("has new", scaleSample*scaleMessage, func() { x.has(1, scaleSample*scaleMessage, false) })
	x.step("has held", scaleSample*scaleMessage, func() { x.has(0, x.n, true) })
	x.step("put", scaleSample*scaleMessage, x.put)
	x.step("get", scaleSample*scaleMessage, x.get)
	x.step("has, just put", scaleSample*scaleMessage, func() { x.has(2, scaleSample*scaleMessage, true) })
	x.crash()
	x.step("recover", 1, x.open)
	x.has(2, scaleSample*scaleMessage, true)
	x.step("close", 1, func() { x.check(x.s.Close()) })
}

func (x *scale) step(name string, operations int, do func()) {
	start := time.Now()
	do()
	took := time.Since(start)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("scale,%s,%d,%d,%d\n", name, x.n, took.Nanoseconds()/int64(operations), m.HeapInuse)
}

func (x *scale) check(err error) {
	if err != nil {
		x.b.Fatal(err)
	}
}

func (x *scale) open() {
	var err error
	x.s, err = Open(x.dir, Options{})
	x.check(err)
}

// fill enters chunks into the index that are in no segment.
func (x *scale) fill() {
	at := x.s.index.State().Position
	for n := 0; n < x.n; {
		b, err := x.s.index.NewBatch()
		x.check(err)
		for end := min(n+scaleBatch, x.n); n < end; n++ {
			e := index.Entry{Location: segment.Location{Segment: at.Segment, Offset: at.Offset + int64(n)<<12}, Content: 4096, Kind: schemas.Data}
			x.check(b.Put(index.NewKey(scaleVault, scaleID(0, n), schemas.Whole), e))
		}
		x.check(b.Commit(at))
	}
}

// has asks for a sample of the first n chunks of a series and expects the answer want.
func (x *scale) has(series uint8, n int, want bool) {
	ids := make([]schemas.ChunkID, scaleMessage)
	have := make([]bool, len(ids))
	at := 0
	for range scaleSample {
		for i := range ids {
			at = (at + 7919) % n
			ids[i] = scaleID(series, at)
		}
		x.check(x.s.Has(scaleVault, ids, have))
		for i := range have {
			if have[i] != want {
				x.b.Fatalf("has says %v", have[i])
			}
		}
	}
}

func (x *scale) put() {
	content := make([]byte, 4096)
	for m := range scaleSample {
		var chunks []schemas.Chunk
		for i := range scaleMessage {
			c := schemas.Chunk{ID: scaleID(2, m*scaleMessage+i), Kind: schemas.Data, Content: content}
			c.Sum = c.Checksum()
			chunks = append(chunks, c)
		}
		x.check(x.s.Put(x.b.Context(), scaleVault, chunks))
	}
}

func (x *scale) get() {
	for i := range scaleSample * scaleMessage {
		_, err := x.s.Get(scaleVault, scaleID(2, i))
		x.check(err)
	}
}

// crash ends the store as a kill does: the index loses what it had only in memory.
func (x *scale) crash() {
	close(x.s.gate.stop)
	x.s.writing.Wait()
	x.check(errors.Join(x.s.writer.close(), x.s.index.CloseUnflushed(), x.s.segments.files.Close(), x.s.lock.Close()))
}
