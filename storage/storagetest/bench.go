package storagetest

import (
	"encoding/binary"
	"testing"
	"time"

	"servidor-backup/schemas"
)

// Work is the chunks of a number of messages. All chunks share one content, so that much
// work takes little memory and is made quickly; each has its own id and checksum.
type Work struct {
	chunks []schemas.Chunk
	each   int // chunks per message
}

// NewWork makes work for the given number of messages, with each chunks of size bytes of
// content per message. Works with different seeds share no id.
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

// Message returns the vault and the chunks of the nth message. When all chunks have been
// used, they come again in another vault: they are new to a store, and still valid,
// because checksums do not cover the vault.
func (w *Work) Message(n int) (vault schemas.VaultID, chunks []schemas.Chunk) {
	laps := len(w.chunks) / w.each
	vault = Vault
	for i, b := range binary.LittleEndian.AppendUint64(nil, uint64(n/laps)) {
		vault[i] ^= b
	}
	n %= laps
	return vault, w.chunks[n*w.each:][:w.each]
}

// Bytes and Chunks return the size of one message: bytes of content and chunks.
func (w *Work) Bytes() int64 { return int64(w.each) * int64(len(w.chunks[0].Content)) }
func (w *Work) Chunks() int  { return w.each }

// Meter measures the processor time of a benchmark's operations.
type Meter struct {
	b    *testing.B
	from time.Duration
}

// StartMeter resets the benchmark's timer and begins to measure.
func StartMeter(b *testing.B) *Meter {
	b.ResetTimer()
	return &Meter{b, CPU()}
}

// Stop stops the timer and reports the processor time per chunk and per byte. Each
// operation had the given numbers of chunks and bytes.
func (m *Meter) Stop(chunks int, bytes int64) {
	m.b.StopTimer()
	cpu := float64(CPU() - m.from)
	m.b.SetBytes(bytes)
	m.b.ReportMetric(cpu/float64(m.b.N)/float64(chunks), "cpu-ns/chunk")
	m.b.ReportMetric(cpu/float64(m.b.N)/float64(bytes), "cpu-ns/B")
}
