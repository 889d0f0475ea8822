package client_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
)

// A disk image gives the same chunks with holes, without holes, after one more byte, and as a
// stream. Each is restored as it was, and takes as much space on disk.
func TestZerosAreSavedOnce(t *testing.T) {
	// Data begins and ends within blocks, so a hole is never a whole run of zeros.
	var image []byte
	for i := range 9 {
		image = slices.Concat(image, make([]byte, 200_000*(i+1)), clienttest.Noise(byte(i), 100_000+i*20_000), []byte{1})
	}
	image = append(image, make([]byte, 3<<20)...)
	kinds := []struct {
		name  string
		write func(path string)
	}{
		{"sparse", func(path string) { writeSparse(t, path, image) }},
		{"full", func(path string) { write(t, path, image) }},
		{"moved", func(path string) { write(t, path, append([]byte{1}, image...)) }},
	}
	for first := range kinds {
		w := newWorld(t, 1)
		c := w.client()
		var sent int64
		for i := range kinds {
			kind := kinds[(first+i)%len(kinds)]
			dir := filepath.Join(t.TempDir(), kind.name)
			check(t, os.Mkdir(dir, 0o755))
			kind.write(filepath.Join(dir, "disk"))
			res := save(t, c, client.BackupOptions{Paths: []string{dir}})
			if i == 0 {
				sent = res.Sent
			} else if res.Sent*100 > sent {
				t.Errorf("%s after %s: %d bytes were sent, at first %d", kind.name, kinds[first].name, res.Sent, sent)
			}
			to := treetest.TempDir(t)
			restore(t, c, client.RestoreOptions{ID: kind.name, To: to})
			same(t, dir, filepath.Join(to, kind.name))
			same(t, filepath.Join(to, kind.name), dir) // no holes are filled or made
		}
		res := save(t, c, client.BackupOptions{Paths: []string{"-"}, Stdin: bytes.NewReader(image), Name: "stream"})
		if res.Sent*100 > sent {
			t.Errorf("a stream after %s: %d bytes were sent, at first %d", kinds[first].name, res.Sent, sent)
		}
		for name, inside := range map[string]string{"stream": "", "sparse": "disk", "full": "disk"} {
			var back bytes.Buffer
			cat(t, c, name, inside, &back)
			if !bytes.Equal(back.Bytes(), image) {
				t.Errorf("%s is restored as %d other bytes", name, back.Len())
			}
		}
	}
}

// writeSparse writes content with holes wherever they are possible.
func writeSparse(t testing.TB, path string, content []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const block = 4096
	for off := 0; off < len(content); off += block {
		b := content[off:min(off+block, len(content))]
		if bytes.Count(b, []byte{0}) < len(b) {
			_, err := f.WriteAt(b, int64(off))
			check(t, err)
		}
	}
	check(t, f.Truncate(int64(len(content))))
	check(t, f.Close())
}
