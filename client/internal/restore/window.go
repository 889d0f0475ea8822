package restore

import (
	"slices"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

const (
	// windowBytes and windowPieces bound what waits to be asked for. A chunk that
	// comes up again meanwhile, because small files share it or content
	// repeats, is fetched and opened once for all.
	windowBytes  = 8 << 20
	windowPieces = 4096
	// fetchBatch is how many bytes of plaintext one request to the nodes is
	// about: sealed, they still fit one message.
	fetchBatch = 900_000
	// fetchPieces bounds the chunks of one request.
	fetchPieces = 1024
)

// pieceRequest is a piece that is needed for a file.
type pieceRequest struct {
	job   *fileJob
	piece tree.Piece
}

// chunkRequest is a chunk that is asked for, with all its pieces that are needed.
type chunkRequest struct {
	id     schemas.ChunkID
	size   int64 // how long the chunk is at least
	pieces []pieceRequest
}

// window gathers the requests, oldest first.
type window struct {
	queue  []*chunkRequest
	byID   map[schemas.ChunkID]*chunkRequest
	bytes  int64 // of all chunks
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

// nextBatch removes the oldest requests, as many as one request to the nodes is
// about.
func (w *window) nextBatch() []*chunkRequest {
	n := 0
	for size := int64(0); n < min(len(w.queue), fetchPieces); n++ {
		c := w.queue[n]
		// A little more than the seal, for the message around it.
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

// dispatch sends requests for the oldest of what is wanted on their way until
// the window is not full, or with all, until it is empty.
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

// fetch gets a batch of chunks, from what was written already or from nodes, and
// writes what is wanted of them.
func (r *restorer) fetch(batch []*chunkRequest) error {
	batch = slices.DeleteFunc(batch, func(c *chunkRequest) bool {
		from, known := r.written.find(c.id)
		return known && r.copyWritten(c, from)
	})
	if len(batch) == 0 {
		return nil
	}
	ids := make([]schemas.ChunkID, len(batch))
	for i, c := range batch {
		ids[i] = c.id
	}
	// Each is set by the goroutine that brings the chunk, before Fetch returns.
	came := make([]bool, len(batch))
	err := r.src.Chunks.Fetch(r.ctx, ids, func(i int, sealed *schemas.Chunk) error {
		err := r.arrived(batch[i], sealed)
		came[i] = err == nil
		return err
	})
	r.opt.Progress.Sent.Store(r.src.Chunks.Received())
	if err == nil || !download.IsDamage(err) {
		return err
	}
	// At least one chunk is damaged; each that has not come is asked for by
	// itself, so that every file learns its own fate.
	for i, c := range batch {
		if came[i] {
			continue
		}
		err := r.src.Chunks.Fetch(r.ctx, ids[i:i+1], func(_ int, sealed *schemas.Chunk) error {
			return r.arrived(c, sealed)
		})
		if err != nil && !download.IsDamage(err) {
			return err
		}
		if err != nil {
			r.lost(c, err)
		}
	}
	return nil
}

// arrived opens a chunk and writes it wherever it is wanted. What is wrong with a
// file is its own failure, and not of the restore; of a chunk that is damaged
// another replica may be whole, which is what the error asks for.
func (r *restorer) arrived(c *chunkRequest, sealed *schemas.Chunk) error {
	plain, err := r.src.Chunks.Open(sealed)
	if download.IsDamage(err) {
		return err
	}
	if err != nil {
		r.lost(c, err)
		return nil
	}
	defer plain.Release()
	for _, p := range c.pieces {
		r.deliver(p, plain.Bytes)
	}
	return nil
}

// deliver writes one piece of an opened chunk into its file.
func (r *restorer) deliver(p pieceRequest, plain []byte) {
	defer r.release(p.job)
	part, err := p.piece.Cut(plain)
	if err == nil {
		err = p.job.put(r, part, p.piece.Off)
		r.opt.Progress.Bytes.Add(int64(len(part)))
	}
	if err != nil {
		p.job.fail(r, err)
		return
	}
	r.remember(p, plain)
}

// lost gives up the files that a chunk was wanted for.
func (r *restorer) lost(c *chunkRequest, err error) {
	for _, p := range c.pieces {
		p.job.fail(r, err)
		r.release(p.job)
	}
}
