package storagetest

import (
	"encoding/binary"
	"testing"
	"time"

	"servidor-backup/schemas"
)

// Work is a number of messages' worth of new chunks: all have one content, so
// that much work takes little memory and is quickly made, and an id and checksum
// of their own.
type Work struct {
	chunks []schemas.Chunk
	each   int // chunks of a message
}

// NewWork makes messages of each chunks with size bytes of content. Works of
// different seeds share no id.
func NewWork(seed byte, messages, each, size int) *Work {
	m := NewMaker(seed)
	first := m.Data(size)
	w := &Work{each: each}
	for range messages * each {
		c := schemas.Chunk{ID: m.id(), Kind: schemas.Data, Content: first.Content}
		c.Sum = c.Checksum()
		w.chunks = append(w.chunks, c)
	}
	return w
}

// Message is the nth message's vault and chunks. When all chunks have been used
// they come again, in another vault: to a store they are new, for checksums do
// not cover the vault.
func (w *Work) Message(n int) (vault schemas.VaultID, chunks []schemas.Chunk) {
	laps := len(w.chunks) / w.each
	vault = Vault
	for i, b := range binary.LittleEndian.AppendUint64(nil, uint64(n/laps)) {
		vault[i] ^= b
	}
	n %= laps
	return vault, w.chunks[n*w.each:][:w.each]
}

// Bytes and Chunks are what one message has.
func (w *Work) Bytes() int64 { return int64(w.each) * int64(len(w.chunks[0].Content)) }
func (w *Work) Chunks() int  { return w.each }

// Meter measures what the benchmark's operations take of the processor.
type Meter struct {
	b    *testing.B
	from time.Duration
}

// StartMeter begins to measure, and resets the benchmark's timer.
func StartMeter(b *testing.B) *Meter {
	b.ResetTimer()
	return &Meter{b, CPU()}
}

// Stop stops the timer and reports the processor time for each chunk and byte,
// of operations with so many chunks and bytes each.
func (m *Meter) Stop(chunks int, bytes int64) {
	m.b.StopTimer()
	cpu := float64(CPU() - m.from)
	m.b.SetBytes(bytes)
	m.b.ReportMetric(cpu/float64(m.b.N)/float64(chunks), "cpu-ns/chunk")
	m.b.ReportMetric(cpu/float64(m.b.N)/float64(bytes), "cpu-ns/B")
}
