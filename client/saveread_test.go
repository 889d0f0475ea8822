package client

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"servidor-backup/client/internal/clienttest"
	"slices"
	"testing"
)

// What a run of zeros becomes: nothing in a file with holes, parts of one chunk in
// others and in a stream.
func TestWhatBecomesOfZeros(t *testing.T) {
	const edge = 5000 // zeros between noise and hole that are stored
	data, zeros := clienttest.Noise(1, 200_000), make([]byte, 2*maxChunk+7)
	content := slices.Concat(data, zeros, data, make([]byte, 300_000))
	k := newKeys(VaultKey(clienttest.Key()))
	id, zeroID := k.dataID(data), k.dataID(make([]byte, maxChunk))
	n := int64(len(data))
	behind := n + int64(len(zeros))
	sparse := []Piece{{Off: 0, Len: n, ID: id}, {Off: behind, Len: n, ID: id}}
	full := []Piece{
		sparse[0], {Off: n, Len: maxChunk, ID: zeroID}, {Off: n + maxChunk, Len: maxChunk, ID: zeroID}, {Off: n + 2*maxChunk, Len: 7, ID: zeroID},
		sparse[1], {Off: behind + n, Len: 300_000, ID: zeroID},
	}
	for name, tc := range map[string]struct {
		write []extent // of content; nil for a stream
		want  []Piece
		sent  int
	}{
		"holes":    {[]extent{{0, n + edge}, {behind - edge, n + 2*edge}}, sparse, 1},
		"no holes": {[]extent{{0, int64(len(content))}}, full, 2},
		"stream":   {nil, full, 2},
	} {
		if name == "holes" && runtime.GOOS != "linux" {
			continue // only there they are looked for
		}
		u := &uploader{
			uploadOptions: uploadOptions{Keys: k}, ctx: t.Context(),
			states: newChunkStates(plainBudget, 0), asked: make(chan *pendingChunk, len(full)),
		}
		in := newIntake(u.ctx, newBlocks(3))
		r := &reader{
			in: in, ctx: u.ctx, cutter: newCutter(nil, newGear(newKeys(VaultKey(clienttest.Key())).cutSeed()), in),
			s: newSaver(u, saveOptions{Keys: k, Stdin: bytes.NewReader(content), Progress: new(Progress)}),
		}
		e := &Entry{Path: "f", Type: TypeFile, Size: int64(len(content))}
		if tc.write == nil {
			if err := r.stdin(u.ctx, e); err != nil {
				t.Fatal(err)
			}
		} else {
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, x := range tc.write {
				if _, err := f.WriteAt(content[x.Off:][:x.Len], x.Off); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Truncate(e.Size); err != nil {
				t.Fatal(err)
			}
			if _, err := r.large(e, f); err != nil {
				t.Fatal(err)
			}
		}
		in.close()
		if err := e.check(); err != nil || !slices.Equal(e.Content.Pieces, tc.want) {
			t.Errorf("%s: the pieces are\n%v (%v), want\n%v", name, e.Content.Pieces, err, tc.want)
		}
		if len(u.asked) != tc.sent {
			t.Errorf("%s: %d chunks are sent, want %d", name, len(u.asked), tc.sent)
		}
	}
}
