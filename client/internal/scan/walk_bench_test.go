package scan

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"servidor-backup/client/treetest"
)

func BenchmarkWalk(b *testing.B) { benchWalk(b, treetest.New(b, 1, treetest.Large)) }

// BenchmarkWalkSmall walks small files in many folders, or the folder WALK_DIR if it is set.
func BenchmarkWalkSmall(b *testing.B) {
	dir := os.Getenv("WALK_DIR")
	if dir == "" {
		dir = b.TempDir()
		for i := range 1000 {
			sub := filepath.Join(dir, fmt.Sprintf("%02d/%03d", i%40, i))
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
			for j := range 10 {
				if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%d.txt", j)), nil, 0o644); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	benchWalk(b, dir)
}

func benchWalk(b *testing.B, dir string) {
	b.Helper()
	roots, err := NewRoots([]string{dir})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	entries := 0
	for b.Loop() {
		if err := Walk(b.Context(), roots, nil, func(Item) error { entries++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
}
