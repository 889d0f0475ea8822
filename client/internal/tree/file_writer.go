package tree

import (
	"errors"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// FileWriter makes the Content of a file: a short list of pieces stays in the content,
// a long one becomes a file tree.
type FileWriter struct {
	b       builder
	content Content
	end     int64 // where the last piece ended
	inTree  bool  // the pieces are in b and not in content
}

// NewFileWriter returns a writer that gives finished tree nodes to put.
func NewFileWriter(k *seal.Keys, put Putter) *FileWriter {
	return &FileWriter{b: builder{k: k, kind: fileTree, put: put}}
}

// Add adds the next piece, which begins where the last one ended or, after a
// hole, later. Offset and length are in bytes.
func (w *FileWriter) Add(off, length int64, id schemas.ChunkID) error {
	p := Piece{Off: off, Len: length, ID: id}
	if err := p.check(w.end, maxFileSize); err != nil {
		w.b.err = errors.Join(w.b.err, err)
		return w.b.err
	}
	w.end = off + length
	w.content.Bytes += length
	if !w.inTree && len(w.content.Pieces) < maxInlinePieces {
		w.content.Pieces = append(w.content.Pieces, p)
		return w.b.err
	}
	for _, early := range w.content.Pieces {
		w.addToTree(early)
	}
	w.content.Pieces, w.inTree = nil, true
	return w.addToTree(p)
}

// maxFileSize is the largest offset that a file can have, in bytes.
const maxFileSize = 1<<63 - 1

func (w *FileWriter) addToTree(p Piece) error {
	return w.b.add(0, offsetKey(p.Off), func(n *openNode) {
		n.items.arrayLen(3)
		n.items.int(p.Off)
		n.items.int(p.Len)
		n.items.index(n.dataIndex(p.ID))
	})
}

// Finish puts the tree nodes that are still open and returns the content. The writer cannot be
// used any more.
func (w *FileWriter) Finish() (Content, error) {
	if !w.inTree {
		return w.content, w.b.err
	}
	root, err := w.b.finish()
	w.content.Tree = root
	return w.content, err
}
