package heal_test

import (
	"testing"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/storage/node"
	"servidor-backup/storage/nodetest"
)

// BenchmarkSurvey measures surveys of all that three nodes hold, side by side, in which each
// node has to ask the others.
func BenchmarkSurvey(b *testing.B) {
	const chunks = 100_000
	s := nodetest.New(b, 3, d11, node.Options{Survey: time.Hour})
	for range chunks / 1000 {
		var group []schemas.Chunk
		for range 1000 {
			group = append(group, s.Data(100))
		}
		s.Save(group...)
	}
	for b.Loop() {
		s.SetDurability(d11) // a new map that says the same
		s.AwaitSurveys()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/(2*chunks), "µs/part")
}
