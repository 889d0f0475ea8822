package restore

import (
	"slices"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

const (
	// maxGatheredBytes and maxGatheredPieces bound the requests that are gathered. A chunk that is
	// requested again while its first request is gathered, because small files share it or
	// content repeats, is fetched and opened once.
	maxGatheredBytes  = 8 << 20
	maxGatheredPieces = 4096
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

// gathering holds the requests that wait to be sent, by chunk, oldest first.
type gathering struct {
	queue  []*chunkRequest
	byID   map[schemas.ChunkID]*chunkRequest
	bytes  int64 // the size of all chunks
	pieces int
}

func (g *gathering) add(p pieceRequest) {
	c := g.byID[p.piece.ID]
	if c == nil {
		if g.byID == nil {
			g.byID = map[schemas.ChunkID]*chunkRequest{}
		}
		c = &chunkRequest{id: p.piece.ID}
		g.byID[c.id] = c
		g.queue = append(g.queue, c)
	}
	c.pieces = append(c.pieces, p)
	g.pieces++
	if size := p.piece.Skip + p.piece.Len; size > c.size {
		g.bytes += size - c.size
		c.size = size
	}
}

func (g *gathering) full() bool { return g.bytes > maxGatheredBytes || g.pieces > maxGatheredPieces }

// nextBatch removes and returns the oldest requests, as many as fit one request to the nodes.
func (g *gathering) nextBatch() []*chunkRequest {
	n := 0
	for size := int64(0); n < min(len(g.queue), fetchChunks); n++ {
		c := g.queue[n]
		// 200 bytes more than the seal, for the fields of the message.
		if size += c.size + seal.Overhead + 200; n > 0 && size > fetchBatch {
			break
		}
		delete(g.byID, c.id)
		g.bytes -= c.size
		g.pieces -= len(c.pieces)
	}
	batch := g.queue[:n:n]
	g.queue = g.queue[n:]
	return batch
}

// dispatch starts fetching the oldest requests until the gathering is not full any more or, with
// all, until it is empty. It blocks while too many requests are under way.
func (r *restorer) dispatch(all bool) error {
	for r.gathering.full() || all && len(r.gathering.queue) > 0 {
		batch := r.gathering.nextBatch()
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

// requestPieces requests the content of a file. An error that ends the restore leaves the file
// unfinished, so that it never has its name with bytes missing.
func (r *restorer) requestPieces(job *fileJob) error {
	kept, err := r.keep(job)
	if err != nil {
		return err
	}
	if kept {
		r.opt.Progress.Bytes.Add(job.entry.Size)
		job.dir.Release()
		return nil
	}
	it := r.src.Entries.Pieces(r.ctx, job.entry.Content, job.entry.Size)
	for {
		p, ok, err := it.Next()
		if err != nil && !download.IsDamage(err) {
			return err
		}
		if err != nil {
			job.fail(r, err)
		}
		if err != nil || !ok {
			r.release(job)
			return nil
		}
		r.hint(job, p)
		job.pending.Add(1)
		r.gathering.add(pieceRequest{job, p})
		if err := r.dispatch(false); err != nil {
			return err
		}
	}
}

// release counts one piece, or the descent, as done. The last release finishes the file.
func (r *restorer) release(j *fileJob) {
	if j.pending.Add(-1) > 0 {
		return
	}
	defer j.dir.Release()
	if !j.failed {
		if err := j.finish(r); err != nil {
			j.fail(r, err)
			return
		}
		r.count(j.entry.Size)
	} else if j.file != nil {
		if err := j.file.Abort(); err != nil {
			r.opt.Incomplete(j.entry.Path, err)
		}
	}
}
