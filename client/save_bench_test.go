package client_test

import (
	"fmt"
	"os"
	"path/filepath"
	"servidor-backup/client/internal/clienttest"
	"testing"

	"servidor-backup/client"
)

// BenchmarkUnchanged backs up what has not changed: many small files, or what is
// in WALK_DIR.
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
	save(b, c, opt) // which may read again what had just been made
	b.ReportAllocs()
	files := int64(0)
	for b.Loop() {
		files += save(b, c, opt).Files
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(files), "ns/file")
}
