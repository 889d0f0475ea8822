package restore

import (
	"slices"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

const (
	// windowBytes and windowPieces bound the requests that are collected. A chunk that is
	// requested again while it is in the window, because small files share it or content
	// repeats, is fetched and opened once.
	windowBytes  = 8 << 20
	windowPieces = 4096
	// fetchBatch is how many bytes of content one request to the nodes asks for: sealed, they
	// still fit one message.
	fetchBatch = 900_000
	// fetchChunks bounds the chunks of one request.
	fetchChunks = 1024
)

// pieceRequest asks for a piece of a file.
type pieceRequest struct {
	job   *fileJob
	piece tree.Piece
}

// chunkRequest asks for a chunk, of which the pieces are needed.
type chunkRequest struct {
	id     schemas.ChunkID
	size   int64 // the least size that the chunk can have, in bytes
	pieces []pieceRequest
}

// window collects requests by chunk, oldest first.
type window struct {
	queue  []*chunkRequest
	byID   map[schemas.ChunkID]*chunkRequest
	bytes  int64 // the size of all chunks
	pieces int
}

func (w *window) add(p pieceRequest) {
	c := w.byID[p.piece.ID]
	if c == nil {
		if w.byID == nil {
			w.byID = map[schemas.ChunkID]*chunkRequest{}
		}
		c = &chunkRequest{id: p.piece.ID}
		w.byID[c.id] = c
		w.queue = append(w.queue, c)
	}
	c.pieces = append(c.pieces, p)
	w.pieces++
	if size := p.piece.Skip + p.piece.Len; size > c.size {
		w.bytes += size - c.size
		c.size = size
	}
}

func (w *window) full() bool { return w.bytes > windowBytes || w.pieces > windowPieces }

// nextBatch removes and returns the oldest requests, as many as fit one request to the nodes.
func (w *window) nextBatch() []*chunkRequest {
	n := 0
	for size := int64(0); n < min(len(w.queue), fetchChunks); n++ {
		c := w.queue[n]
		// 200 bytes more than the seal, for the fields of the message.
		if size += c.size + seal.Overhead + 200; n > 0 && size > fetchBatch {
			break
		}
		delete(w.byID, c.id)
		w.bytes -= c.size
		w.pieces -= len(c.pieces)
	}
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	return batch
}

// dispatch starts fetching the oldest requests until the window is not full any more or, with all,
// until it is empty. It blocks while too many requests are under way.
func (r *restorer) dispatch(all bool) error {
	for r.window.full() || all && len(r.window.queue) > 0 {
		batch := r.window.nextBatch()
		r.work.Go(func() error { return r.fetch(batch) })
		if err := r.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// fetch gets a batch of chunks, from the written cache or from nodes, and writes their pieces.
func (r *restorer) fetch(batch []*chunkRequest) error {
	batch = slices.DeleteFunc(batch, func(c *chunkRequest) bool {
		from, known := r.written.find(c.id)
		return known && r.serveWritten(c, from)
	})
	if len(batch) == 0 {
		return nil
	}
	ids := make([]schemas.ChunkID, len(batch))
	for i, c := range batch {
		ids[i] = c.id
	}
	// Each is set by the goroutine that receives the chunk, before Fetch returns.
	arrived := make([]bool, len(batch))
	err := r.src.Chunks.Fetch(r.ctx, ids, func(i int, sealed *schemas.Chunk) error {
		err := r.open(batch[i], sealed)
		arrived[i] = err == nil
		return err
	})
	r.opt.Progress.Sent.Store(r.src.Chunks.Received())
	if err == nil || !download.IsDamage(err) {
		return err
	}
	// At least one chunk is damaged. The chunks that have not arrived are fetched one by one,
	// so that only files that need a damaged chunk fail.
	for i, c := range batch {
		if arrived[i] {
			continue
		}
		err := r.src.Chunks.Fetch(r.ctx, ids[i:i+1], func(_ int, sealed *schemas.Chunk) error {
			return r.open(c, sealed)
		})
		if err != nil && !download.IsDamage(err) {
			return err
		}
		if err != nil {
			r.failChunk(c, err)
		}
	}
	return nil
}

// open opens a chunk and writes its pieces. An error of a file fails the file and not the restore.
// The error of a damaged chunk is returned, so that another replica is tried, which may be whole.
func (r *restorer) open(c *chunkRequest, sealed *schemas.Chunk) error {
	plain, err := r.src.Chunks.Open(sealed)
	if download.IsDamage(err) {
		return err
	}
	if err != nil {
		r.failChunk(c, err)
		return nil
	}
	defer plain.Release()
	for _, p := range c.pieces {
		r.deliver(p, plain.Bytes)
	}
	return nil
}

// deliver writes a piece of an opened chunk into its file.
func (r *restorer) deliver(p pieceRequest, plain []byte) {
	defer r.release(p.job)
	part, err := p.piece.Cut(plain)
	if err == nil {
		err = p.job.write(r, part, p.piece.Off)
		r.opt.Progress.Bytes.Add(int64(len(part)))
	}
	if err != nil {
		p.job.fail(r, err)
		return
	}
	r.remember(p, plain)
}

// failChunk fails the files that need a chunk.
func (r *restorer) failChunk(c *chunkRequest, err error) {
	for _, p := range c.pieces {
		p.job.fail(r, err)
		r.release(p.job)
	}
}
