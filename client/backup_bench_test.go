package client_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
)

// BenchmarkUnchanged backs up files that have not changed: many small ones, or those in WALK_DIR.
func BenchmarkUnchanged(b *testing.B) {
	dir := os.Getenv("WALK_DIR")
	if dir == "" {
		dir = b.TempDir()
		for i := range 10_000 {
			write(b, filepath.Join(dir, fmt.Sprintf("%02d/%03d/file-%d.txt", i%40, i/10, i)), clienttest.Noise(byte(i), 100))
		}
		settle(b, dir)
	}
	c := newWorld(b, 1).client()
	opt := client.BackupOptions{Paths: []string{dir}, Name: "x"}
	save(b, c, opt)
	save(b, c, opt) // which may read files again because they are new
	b.ReportAllocs()
	files := int64(0)
	for b.Loop() {
		files += save(b, c, opt).Files
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(files), "ns/file")
}
