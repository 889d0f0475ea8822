package archive

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

// A long run of zeros becomes a hole in a file with holes, and pieces of one chunk of zeros in
// other files and in a stream.
func TestZerosBecomeHolesOrPiecesOfOneChunk(t *testing.T) {
	const edge = 5000 // zeros that are stored between noise and hole
	data, zeros := clienttest.Noise(1, 200_000), make([]byte, 2*chunk.MaxSize+7)
	content := slices.Concat(data, zeros, data, make([]byte, 300_000))
	k := seal.New(seal.VaultKey(clienttest.Key()))
	id, zeroID := k.DataID(data), k.DataID(make([]byte, chunk.MaxSize))
	n := int64(len(data))
	behind := n + int64(len(zeros))
	sparse := []tree.Piece{{Off: 0, Len: n, ID: id}, {Off: behind, Len: n, ID: id}}
	full := []tree.Piece{
		sparse[0], {Off: n, Len: chunk.MaxSize, ID: zeroID}, {Off: n + chunk.MaxSize, Len: chunk.MaxSize, ID: zeroID}, {Off: n + 2*chunk.MaxSize, Len: 7, ID: zeroID},
		sparse[1], {Off: behind + n, Len: 300_000, ID: zeroID},
	}
	for name, tc := range map[string]struct {
		write []osfs.Extent // of content; nil for a stream
		want  []tree.Piece
		sent  int
	}{
		"holes":    {[]osfs.Extent{{Off: 0, Len: n + edge}, {Off: behind - edge, Len: n + 2*edge}}, sparse, 1},
		"no holes": {[]osfs.Extent{{Len: int64(len(content))}}, full, 2},
		"stream":   {nil, full, 2},
	} {
		if name == "holes" && runtime.GOOS != "linux" {
			continue // only Linux is asked for holes
		}
		u := &fakeUploader{ctx: t.Context(), sent: map[schemas.ChunkID]bool{}}
		in := chunk.NewIntake(u.ctx, chunk.NewBlocks(3))
		r := &reader{
			in: in, ctx: u.ctx, cutter: chunk.NewCutter(nil, chunk.NewGear(seal.New(seal.VaultKey(clienttest.Key())).CutSeed()), in),
			s: newSaver(u, Options{Keys: k, Stdin: bytes.NewReader(content), Progress: new(transfer.Progress)}),
		}
		e := &tree.Entry{Path: "f", Type: tree.TypeFile, Size: int64(len(content))}
		if tc.write == nil {
			if err := r.readStdin(u.ctx, e); err != nil {
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
			if _, err := r.readLarge(e, f, osfs.Ordinary); err != nil {
				t.Fatal(err)
			}
		}
		in.Close()
		if err := e.Check(); err != nil || !slices.Equal(e.Content.Pieces, tc.want) {
			t.Errorf("%s: the pieces are\n%v (%v), want\n%v", name, e.Content.Pieces, err, tc.want)
		}
		if len(u.sent) != tc.sent {
			t.Errorf("%s: %d different chunks are sent, want %d", name, len(u.sent), tc.sent)
		}
	}
}

// fakeUploader records the ids of the chunks that it takes.
type fakeUploader struct {
	ctx  context.Context
	sent map[schemas.ChunkID]bool
}

func (u *fakeUploader) Context() context.Context { return u.ctx }

func (u *fakeUploader) CopyPlain(b []byte) (chunk.Plaintext, error) {
	return chunk.CopyPlaintext(b), nil
}

func (u *fakeUploader) PutData(id schemas.ChunkID, plain chunk.Plaintext) error {
	u.sent[id] = true
	plain.Release()
	return nil
}

func (u *fakeUploader) PutTree(id schemas.ChunkID, _, _ []schemas.ChunkID, _ []byte) error {
	u.sent[id] = true
	return nil
}

func (u *fakeUploader) Recoverable(context.Context, []schemas.ChunkID) (bool, error) {
	return true, nil
}

func (u *fakeUploader) Stats() upload.Stats { return upload.Stats{} }
