package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

const (
	// maxBatchBytes limits a batch, which is what one sync pays for. With more bytes
	// the first put of the batch would wait longer than the sync costs.
	maxBatchBytes = 8 << 20
	// maxBatchChunks limits a batch so that it is not large for the index's memtable.
	maxBatchChunks = 8192
	// maxRequestBytes is the size at which a put is split, so that a batch is never
	// much larger than maxBatchBytes.
	maxRequestBytes = 4 << 20
	// gatherBytes is the length from which content is written from the caller's
	// memory. Shorter content is gathered up to this size: enough to be worth a
	// write, and still in the processor's cache when it is written.
	gatherBytes = 128 << 10
)

// putRequest is a piece of a put on its way to the writer. The sender waits on
// done, so the writer may read the chunks until it answers.
type putRequest struct {
	vault  schemas.VaultID
	chunks []schemas.Chunk
	bytes  int64
	done   chan error // of capacity 1
}

// Put stores chunks, or parts of chunks. It returns nil when all of them are on
// stable storage and Has and Parts report them. A part that is held is not written
// again; a part that is known to be damaged is written and replaces the damaged
// one. Put only reads the slices, and only until it returns. After an error some of
// the chunks may be stored.
//
// ctx is honoured until the writer takes the chunks; after that Put waits for the
// disk.
//
// Errors are of the codes [schemas.BadChunk] (nothing is stored),
// [schemas.DiskFull] (try again when there is space), [schemas.DiskFailed] and
// [schemas.NodeClosed], or ctx's.
func (s *Store) Put(ctx context.Context, vault schemas.VaultID, chunks []schemas.Chunk) error {
	for i := range chunks {
		if err := checkChunk(&chunks[i]); err != nil {
			return err
		}
	}
	for len(chunks) > 0 {
		r := &putRequest{vault: vault, done: make(chan error, 1)}
		n := 0
		for ; n < len(chunks) && n < maxBatchChunks && r.bytes < maxRequestBytes; n++ {
			r.bytes += segment.HeaderSize + int64(chunks[n].Size())
		}
		r.chunks, chunks = chunks[:n], chunks[n:]
		if err := s.writer.submit(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func checkChunk(c *schemas.Chunk) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Sum != c.Checksum() {
		return schemas.Errorf(schemas.BadChunk, "chunk %s does not match its checksum; send it again", c.ID.Short())
	}
	return nil
}

// writer appends to the last segment. Its goroutine alone uses it, except for
// submit and turn.
//
// The file consists of records up to end.Offset and of leftovers from there up to
// size: bytes of a torn or refused batch. The next batch covers them.
type writer struct {
	puts  chan *putRequest
	turns chan func()

	dir         *directory
	gate        *gate
	health      *health
	segments    *segments
	index       *index.Index
	segmentSize int64
	reserve     int64

	file   vfs.File // nil when the next segment is to be made
	end    segment.Location
	size   int64
	marked bool // nothing was appended since the last sync mark

	// Of the current batch: the bytes that are not written yet, and their offset.
	buf []byte
	pos int64
}

// newWriter returns a writer that has no segment yet; see writer.use.
func newWriter(s *Store) *writer {
	return &writer{
		puts: make(chan *putRequest), turns: make(chan func()),
		dir: s.dir, gate: s.gate, health: s.health, segments: s.segments, index: s.index,
		segmentSize: s.opt.SegmentSize, reserve: s.opt.ReserveBytes,
	}
}

// use makes the writer append to the file, whose records end at end and whose
// length is size.
func (w *writer) use(file vfs.File, end segment.Location, size int64, marked bool) {
	w.file, w.end, w.size, w.marked = file, end, size, marked
}

// submit gives the request to the writer's goroutine and waits for the answer.
func (w *writer) submit(ctx context.Context, r *putRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.health.refusal(); err != nil {
		return err
	}
	select {
	case <-w.gate.stop:
		return w.gate.closedError()
	case <-ctx.Done():
		return ctx.Err()
	case w.puts <- r:
		return <-r.done
	}
}

// turn runs do in the writer's goroutine, between two batches, and returns its
// error. If the store is closed or ctx ends before, turn fails without running do.
func (w *writer) turn(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	select {
	case w.turns <- func() { done <- do() }:
		return <-done
	case <-w.gate.stop:
		return w.gate.closedError()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is the writer's goroutine. It ends when the store is closed.
func (w *writer) run() {
	for {
		select {
		case r := <-w.puts:
			w.serve(w.gather(r))
			continue
		case do := <-w.turns:
			do()
			continue
		default:
		}
		w.mark()
		select {
		case r := <-w.puts:
			w.serve(w.gather(r))
		case do := <-w.turns:
			do()
		case <-w.gate.stop:
			return
		}
	}
}

// gather adds the waiting puts to the first, up to a batch.
func (w *writer) gather(first *putRequest) []*putRequest {
	batch := []*putRequest{first}
	bytes, chunks := first.bytes, len(first.chunks)
	for bytes < maxBatchBytes && chunks < maxBatchChunks {
		select {
		case r := <-w.puts:
			batch = append(batch, r)
			bytes += r.bytes
			chunks += len(r.chunks)
		default:
			return batch
		}
	}
	return batch
}

// serve commits the batch and answers its puts.
func (w *writer) serve(batch []*putRequest) {
	err := w.health.refusal()
	if err == nil {
		err = w.answer(w.commit(batch))
	}
	for _, r := range batch {
		r.done <- err
	}
}

// answer turns the result of a commit into the answer to its puts. If the disk
// failed, it makes the store refuse later puts.
func (w *writer) answer(err error) error {
	full := vfs.IsNoSpaceError(err) || schemas.CodeOf(err) == schemas.DiskFull
	w.health.full.Store(full)
	switch {
	case err == nil || schemas.CodeOf(err) == schemas.DiskFull:
		return err
	case full:
		return schemas.Explain(schemas.DiskFull, "disk-is-full",
			"the disk of node {node} is full; make room or add a node", "node", w.dir.identity.Node).Because(err)
	}
	w.health.fail(err)
	return w.health.refusal()
}

// chunkWrite is a chunk that is to be written.
type chunkWrite struct {
	key        index.Key
	head       segment.Header // vault and time
	generation uint32         // of its entry
	void       bool           // its entry is
	chunk      *schemas.Chunk
	skip       bool // the part is held, or comes twice
}

// commit makes a batch durable. The guarantees of the store rest on this order:
//
//  1. A batch is appended only behind bytes that are synced.
//  2. The file header and the directory entry of its segment are synced before it.
//  3. The batch is synced before the index points into it, so that the index never
//     knows more than the segments hold.
//  4. The index knows the batch before its puts are answered, so that Has reports
//     everything that was acknowledged.
//  5. Parts that were held already are pinned before their puts are answered, so
//     that no sweep removes them.
//
// After an error end is unchanged: nothing of the batch counts.
func (w *writer) commit(batch []*putRequest) error {
	old, err := w.store(batch)
	if err != nil || len(old) == 0 {
		return err
	}
	return w.index.Pin(old, make([]bool, len(old)))
}

// store does steps 1 to 4 of commit. It returns the keys of the parts that were held
// already and whose entries are of an older generation.
func (w *writer) store(batch []*putRequest) (old []index.Key, err error) {
	entries, err := w.index.NewBatch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	writes, old, err := w.chooseWrites(batch, entries)
	if err != nil || len(writes) == 0 {
		return old, err
	}
	return old, w.put(writes, entries, w.reserve)
}

// put makes chunks durable and enters them in the index, in the order that commit
// gives. It leaves reserve bytes of the disk free.
func (w *writer) put(writes []chunkWrite, entries *index.Batch, reserve int64) error {
	need := int64(segment.HeaderSize) // a void may follow
	for _, cw := range writes {
		need += segment.HeaderSize + int64(cw.chunk.Size())
	}
	if err := w.dir.checkSpace(need, reserve); err != nil {
		return err
	}
	if err := w.prepareSegment(need); err != nil {
		return err
	}
	if err := w.append(writes, entries); err != nil {
		return err
	}
	return entries.Commit(w.end)
}

// chooseWrites chooses what to write: each part once, and no part that is held. old are the
// keys of the held parts whose entries are of an older generation.
func (w *writer) chooseWrites(batch []*putRequest, entries *index.Batch) (writes []chunkWrite, old []index.Key, err error) {
	head, generation := segment.Header{Time: w.segments.now().Unix()}, entries.Generation()
	for _, r := range batch {
		head.Vault = r.vault
		for i := range r.chunks {
			c := &r.chunks[i]
			writes = append(writes, chunkWrite{key: index.NewKey(r.vault, c.ID, c.Part), head: head, generation: generation, chunk: c})
		}
	}
	var last *chunkWrite
	for _, i := range index.Order(len(writes), func(i int) *index.Key { return &writes[i].key }) {
		cw := &writes[i]
		e, held, err := entries.Get(cw.key)
		if err != nil {
			return nil, nil, err
		}
		twice := last != nil && last.key == cw.key
		if held = held && !e.Corrupt; held && !twice && e.Generation < generation {
			old = append(old, cw.key)
		}
		cw.skip = held || twice
		last = cw
	}
	return slices.DeleteFunc(writes, func(cw chunkWrite) bool { return cw.skip }), old, nil
}

// prepareSegment begins the next segment if need bytes do not fit into this one. A
// segment takes at least one batch, however long.
func (w *writer) prepareSegment(need int64) error {
	if w.file != nil && w.end.Offset > segment.FileHeaderSize && w.end.Offset+need > w.segmentSize {
		if err := w.finishSegment(); err != nil {
			return err
		}
	}
	if w.file != nil {
		return nil
	}
	return w.beginSegment()
}

// beginSegment makes the next segment.
func (w *writer) beginSegment() error {
	n := w.end.Segment + 1
	file, size, err := w.segments.create(n)
	if err != nil {
		return err
	}
	w.use(file, segment.Location{Segment: n, Offset: segment.FileHeaderSize}, size, true)
	return nil
}

// finishSegment ends the segment. All of it is on stable storage before the next one
// is made, because recovery takes a later segment as proof of that.
func (w *writer) finishSegment() error {
	if err := w.append(nil, nil); err != nil {
		return err
	}
	file := w.file
	w.file = nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", segmentLabel(w.end.Segment), err)
	}
	if _, err := w.index.StartFlush(); err != nil {
		return fmt.Errorf("flush the index: %w", err)
	}
	return nil
}

// append puts the records of writes at the end of the segment, covers the leftovers
// behind them, syncs, moves the end, and puts the records' locations into entries.
// After an error the end is unchanged and the bytes behind it are leftovers.
func (w *writer) append(writes []chunkWrite, entries *index.Batch) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, w.measure())
		}
	}()
	codec := w.segments.codec
	w.buf, w.pos = w.buf[:0], w.end.Offset
	for _, cw := range writes {
		r := segment.Record{At: segment.Location{Segment: w.end.Segment, Offset: w.pos + int64(len(w.buf))}, Head: cw.head}
		r.Head.BatchStart = w.end.Offset
		w.buf = codec.AppendFront(w.buf, r.At, &r.Head, cw.chunk)
		e := index.RecordEntry(&r)
		e.Generation, e.Corrupt, e.Void = cw.generation, cw.void, cw.void
		if err := entries.PutAsIs(cw.key, e); err != nil {
			return err
		}
		if err := w.content(cw.chunk.Content); err != nil {
			return err
		}
	}
	end := w.pos + int64(len(w.buf))
	if rest := w.size - end; rest > 0 {
		void := segment.Header{
			Kind: segment.KindVoid, Content: uint32(max(0, rest-segment.HeaderSize)),
			Time: w.segments.now().Unix(), BatchStart: w.end.Offset,
		}
		w.buf = codec.AppendHeader(w.buf, segment.Location{Segment: w.end.Segment, Offset: end}, &void)
		end += void.Size()
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.file.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", segmentLabel(w.end.Segment), err)
	}
	w.end.Offset, w.size, w.marked = end, max(w.size, end), false
	return nil
}

// content adds a chunk's content to the batch.
func (w *writer) content(b []byte) error {
	if len(b) < gatherBytes {
		w.buf = append(w.buf, b...)
		if len(w.buf) < gatherBytes {
			return nil
		}
		return w.flush()
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.write(b)
}

// flush writes the gathered bytes.
func (w *writer) flush() error {
	err := w.write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// write writes b at pos and moves pos. It does not move the end; append does.
func (w *writer) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(b, w.pos); err != nil {
		return fmt.Errorf("write %s: %w", segmentLabel(w.end.Segment), err)
	}
	w.pos += int64(len(b))
	return nil
}

// measure finds out how many leftovers a failed write has left.
func (w *writer) measure() (err error) {
	w.size, err = fileSize(w.file)
	return err
}

// mark appends a sync mark, which says that everything before it is synced. It runs
// when no put waits. A sync mark needs no sync of its own: losing one loses a proof, not data.
func (w *writer) mark() {
	if w.marked || w.file == nil || w.health.failed() != nil {
		return
	}
	h := segment.Header{Kind: segment.KindMark, Time: w.segments.now().Unix(), BatchStart: w.end.Offset}
	w.buf, w.pos = w.segments.codec.AppendHeader(w.buf[:0], w.end, &h), w.end.Offset
	if err := w.flush(); err != nil {
		w.answer(errors.Join(err, w.measure())) // for Stats and the next put; none waits now
		return
	}
	w.end.Offset += segment.HeaderSize
	w.size = max(w.size, w.end.Offset)
	w.marked = true
}

func (w *writer) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}
