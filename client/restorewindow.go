package client

import (
	"slices"

	"servidor-backup/schemas"
)

const (
	// windowBytes and windowWants bound what waits to be asked for. A chunk that
	// comes up again meanwhile, because small files share it or content
	// repeats, is fetched and opened once for all.
	windowBytes = 8 << 20
	windowWants = 4096
	// fetchBatch is how many bytes of plaintext one request to the nodes is
	// about: sealed, they still fit one message.
	fetchBatch = 900_000
	// fetchPieces bounds the chunks of one request.
	fetchPieces = 1024
)

// want is a piece that is needed for a file.
type want struct {
	job   *fileJob
	piece Piece
}

// order is a chunk that is asked for, with all the places where parts of it are wanted.
type order struct {
	id    schemas.ChunkID
	size  int64 // how long the chunk is at least
	wants []want
}

// window gathers orders, oldest first.
type window struct {
	queue []*order
	byID  map[schemas.ChunkID]*order
	bytes int64 // of all chunks
	wants int
}

func (w *window) add(x want) {
	p := w.byID[x.piece.ID]
	if p == nil {
		if w.byID == nil {
			w.byID = map[schemas.ChunkID]*order{}
		}
		p = &order{id: x.piece.ID}
		w.byID[p.id] = p
		w.queue = append(w.queue, p)
	}
	p.wants = append(p.wants, x)
	w.wants++
	if size := x.piece.Skip + x.piece.Len; size > p.size {
		w.bytes += size - p.size
		p.size = size
	}
}

func (w *window) full() bool { return w.bytes > windowBytes || w.wants > windowWants }

// take removes the oldest parcels, as many as one request is about.
func (w *window) take() []*order {
	n := 0
	for size := int64(0); n < min(len(w.queue), fetchPieces); n++ {
		p := w.queue[n]
		// A little more than the seal, for the message around it.
		if size += p.size + sealOverhead + 200; n > 0 && size > fetchBatch {
			break
		}
		delete(w.byID, p.id)
		w.bytes -= p.size
		w.wants -= len(p.wants)
	}
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	return batch
}

// dispatch sends requests for the oldest of what is wanted on their way until
// the window has room, or with all, until it is empty.
func (r *restorer) dispatch(all bool) error {
	for r.window.full() || all && len(r.window.queue) > 0 {
		batch := r.window.take()
		r.work.Go(func() error { return r.fetch(batch) })
		if err := r.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// fetch gets a batch of chunks, from what was written already or from nodes, and
// writes what is wanted of them.
func (r *restorer) fetch(batch []*order) error {
	batch = slices.DeleteFunc(batch, func(o *order) bool {
		from, known := r.copies.find(o.id)
		return known && r.copied(o, from)
	})
	if len(batch) == 0 {
		return nil
	}
	ids := make([]schemas.ChunkID, len(batch))
	for i, o := range batch {
		ids[i] = o.id
	}
	// Each place is written by the goroutine that brings its chunk, before
	// chunks returns.
	came := make([]bool, len(batch))
	err := r.v.source.chunks(r.ctx, ids, func(place int, c *schemas.Chunk) error {
		err := r.arrived(batch[place], c)
		came[place] = err == nil
		return err
	})
	r.opt.Progress.Sent.Store(r.v.source.holders.BytesReceived())
	if err == nil || !isDamage(err) {
		return err
	}
	// At least one chunk is damaged; each that has not come is asked for by
	// itself, so that every file learns its own fate.
	for i, o := range batch {
		if came[i] {
			continue
		}
		err := r.v.source.chunks(r.ctx, ids[i:i+1], func(_ int, c *schemas.Chunk) error {
			return r.arrived(o, c)
		})
		if err != nil && !isDamage(err) {
			return err
		}
		if err != nil {
			r.lost(o, err)
		}
	}
	return nil
}

// arrived opens a chunk and writes it wherever it is wanted. What is wrong with a
// file is its own failure, and not of the restore; of a chunk that is damaged
// another copy may be whole, which is what the error asks for.
func (r *restorer) arrived(o *order, c *schemas.Chunk) error {
	err := r.v.openChunk(c, func(plain []byte) error {
		for _, w := range o.wants {
			r.deliver(w, plain)
		}
		return nil
	})
	if err != nil && !isDamage(err) {
		r.lost(o, err)
		return nil
	}
	return err
}

// deliver writes one piece of an opened chunk into its file.
func (r *restorer) deliver(w want, plain []byte) {
	defer r.release(w.job)
	part, err := w.piece.of(plain)
	if err == nil {
		err = w.job.put(r, part, w.piece.Off)
		r.opt.Progress.Bytes.Add(int64(len(part)))
	}
	if err != nil {
		w.job.fail(r, err)
		return
	}
	r.remember(w, plain)
}

// lost gives up the files that a chunk was wanted for.
func (r *restorer) lost(o *order, err error) {
	for _, w := range o.wants {
		w.job.fail(r, err)
		r.release(w.job)
	}
}
