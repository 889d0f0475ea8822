package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
)

const (
	// A batch is what one sync pays for. More bytes than this make the first
	// put wait longer than the sync costs.
	maxBatchBytes = 8 << 20
	// More chunks than this make the index's batch large for its memtable.
	maxBatchChunks = 8192
	// A put is handed over in parts of this size, so that a batch is never
	// much larger than it should be.
	maxPartBytes = 4 << 20
	// Content of so many bytes is written from where it lies; what is shorter
	// is gathered, up to so many bytes, so that a write is worth its call and
	// still finds in the processor's cache what was gathered.
	gatherBytes = 128 << 10
)

// putRequest is a part of a put on its way to the writer. The sender waits on
// done, so the writer may read the chunks until it answers.
type putRequest struct {
	vault  schemas.VaultID
	chunks []schemas.Chunk
	bytes  int64
	done   chan error // of capacity 1
}

// Put stores chunks, whole or a part of them: each part is for itself. It returns nil
// when all of them are on stable storage and Has and Parts say so. What is held is not written again; what is known to
// be damaged is, and takes the place of the bad one. The slices are only read,
// and only until Put returns. After an error some of the chunks may be stored.
//
// ctx is honoured until the writer takes the chunks over; from then on the
// answer is the disk's.
//
// Errors are of the codes [schemas.BadChunk] (nothing is stored),
// [schemas.DiskFull] (try again when there is room), [schemas.DiskFailed] and
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
		for ; n < len(chunks) && n < maxBatchChunks && r.bytes < maxPartBytes; n++ {
			r.bytes += recordHeaderSize + int64(chunks[n].Size())
		}
		r.chunks, chunks = chunks[:n], chunks[n:]
		if err := s.submit(ctx, r); err != nil {
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

// submit hands the request to the writer and waits for the answer.
func (s *Store) submit(ctx context.Context, r *putRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.refusal(); err != nil {
		return err
	}
	select {
	case <-s.stop:
		return s.closedError()
	case <-ctx.Done():
		return ctx.Err()
	case s.puts <- r:
		return <-r.done
	}
}

// writer appends to the last segment. Only its goroutine uses it.
//
// The file's bytes are records up to end.offset and leftovers up to size: what a
// torn or refused batch left. The next batch covers them.
type writer struct {
	s      *Store
	file   vfs.File // nil when the next segment is to be made
	end    location
	size   int64
	marked bool // nothing was appended since the last mark

	// Of the batch: what is not written yet, and where that belongs.
	buf []byte
	pos int64
}

// run is the writer's goroutine: it ends when the store is closed.
func (w *writer) run() {
	for {
		select {
		case r := <-w.s.puts:
			w.serve(w.gather(r))
			continue
		case do := <-w.s.turns:
			do()
			continue
		default:
		}
		w.mark()
		select {
		case r := <-w.s.puts:
			w.serve(w.gather(r))
		case do := <-w.s.turns:
			do()
		case <-w.s.stop:
			return
		}
	}
}

// turn runs do in the writer's goroutine, between two batches. It fails without
// having run do when the store is closed or ctx ends before.
func (s *Store) turn(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	select {
	case s.turns <- func() { done <- do() }:
		return <-done
	case <-s.stop:
		return s.closedError()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gather takes the puts that wait, up to a batch.
func (w *writer) gather(first *putRequest) []*putRequest {
	batch := []*putRequest{first}
	bytes, chunks := first.bytes, len(first.chunks)
	for bytes < maxBatchBytes && chunks < maxBatchChunks {
		select {
		case r := <-w.s.puts:
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
	err := w.s.refusal()
	if err == nil {
		err = w.refused(w.commit(batch))
	}
	for _, r := range batch {
		r.done <- err
	}
}

// refused turns a failed commit into the answer to its puts, and makes the
// store refuse later ones if the disk failed.
func (w *writer) refused(err error) error {
	full := vfs.IsNoSpaceError(err) || schemas.CodeOf(err) == schemas.DiskFull
	w.s.full.Store(full)
	switch {
	case err == nil || schemas.CodeOf(err) == schemas.DiskFull:
		return err
	case full:
		return fmt.Errorf("%w: %w", schemas.Errorf(schemas.DiskFull,
			"the disk of node %s is full; make room or add a node", w.s.identity.node), err)
	}
	w.s.fail(err)
	return w.s.refusal()
}

// job is a chunk that the batch writes.
type job struct {
	key        indexKey
	head       recordHeader // vault and time
	generation uint32       // of its entry
	chunk      *schemas.Chunk
	skip       bool // it is held, or comes twice
}

// commit makes a batch durable. The order is what the store's promise rests on:
//
//  1. a batch is appended only behind bytes that are synced;
//  2. its segment's file header and directory entry are synced before it;
//  3. the batch is synced before the index points into it, so that the index
//     never knows of more than the segments hold;
//  4. the index knows of it before its puts are answered, so that Has says yes
//     to whatever was acknowledged;
//  5. so do sweeps: what is held already is of this generation before its puts
//     are answered.
//
// An error leaves end where it was: nothing of the batch counts.
func (w *writer) commit(batch []*putRequest) error {
	old, err := w.store(batch)
	if err != nil || len(old) == 0 {
		return err
	}
	return w.s.index.promise(old, make([]bool, len(old)))
}

// store is commit up to 4. It returns the keys of what is held already, as of an
// older generation.
func (w *writer) store(batch []*putRequest) (old []indexKey, err error) {
	entries, err := w.s.index.newBatch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, entries.close()) }()
	jobs, old, err := w.plan(batch, entries)
	if err != nil || len(jobs) == 0 {
		return old, err
	}
	return old, w.put(jobs, entries, w.s.opt.ReserveBytes)
}

// put makes the jobs durable, keeping so many bytes of the disk free, and enters
// them; see commit.
func (w *writer) put(jobs []job, entries *indexBatch, keep int64) error {
	need := int64(recordHeaderSize) // a void may follow
	for _, j := range jobs {
		need += recordHeaderSize + int64(j.chunk.Size())
	}
	if err := w.s.checkSpace(need, keep); err != nil {
		return err
	}
	if err := w.makeRoom(need); err != nil {
		return err
	}
	if err := w.append(jobs, entries); err != nil {
		return err
	}
	return entries.commit(w.end)
}

// plan chooses what must be written: each part once, and none that is held. old
// are the held ones of an older generation.
func (w *writer) plan(batch []*putRequest, entries *indexBatch) (jobs []job, old []indexKey, err error) {
	head := recordHeader{time: w.s.opt.Now().Unix()}
	for _, r := range batch {
		head.vault = r.vault
		for i := range r.chunks {
			c := &r.chunks[i]
			jobs = append(jobs, job{key: partKey(r.vault, c.ID, c.Part), head: head, generation: entries.generation, chunk: c})
		}
	}
	var last *job
	for _, i := range inOrder(len(jobs), func(i int) *indexKey { return &jobs[i].key }) {
		j := &jobs[i]
		e, held, err := entries.get(j.key)
		if err != nil {
			return nil, nil, err
		}
		twice := last != nil && last.key == j.key
		if held = held && !e.corrupt; held && !twice && e.generation < entries.generation {
			old = append(old, j.key)
		}
		j.skip = held || twice
		last = j
	}
	return slices.DeleteFunc(jobs, func(j job) bool { return j.skip }), old, nil
}

// makeRoom goes on to the next segment if the batch does not fit this one. A
// segment takes at least one batch, however long.
func (w *writer) makeRoom(need int64) error {
	if w.file != nil && w.end.offset > fileHeaderSize && w.end.offset+need > w.s.opt.SegmentSize {
		if err := w.seal(); err != nil {
			return err
		}
	}
	if w.file != nil {
		return nil
	}
	n := w.end.segment + 1
	file, size, err := w.s.createSegment(n)
	if err != nil {
		return err
	}
	w.file, w.end, w.size, w.marked = file, location{n, fileHeaderSize}, size, true
	return nil
}

// seal ends the segment. All of it is on stable storage before the next one is
// made: recovery takes a later segment for the proof of that.
func (w *writer) seal() error {
	if err := w.append(nil, nil); err != nil {
		return err
	}
	file := w.file
	w.file = nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", segmentPlace(w.end.segment), err)
	}
	if _, err := w.s.index.db.AsyncFlush(); err != nil {
		return fmt.Errorf("flush the index: %w", err)
	}
	return nil
}

// append writes the jobs' records at the end, covers leftovers behind them,
// syncs, moves the end, and puts the records' places into entries. After an
// error the end is where it was and the bytes behind it are leftovers.
func (w *writer) append(jobs []job, entries *indexBatch) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, w.measure())
		}
	}()
	w.buf, w.pos = w.buf[:0], w.end.offset
	for _, j := range jobs {
		r := record{at: location{w.end.segment, w.pos + int64(len(w.buf))}, head: j.head}
		r.head.batchStart = w.end.offset
		w.buf = w.s.codec.appendFront(w.buf, r.at, &r.head, j.chunk)
		e := entryOf(&r)
		e.generation = j.generation
		if err := entries.enter(j.key, e); err != nil {
			return err
		}
		if err := w.content(j.chunk.Content); err != nil {
			return err
		}
	}
	end := w.pos + int64(len(w.buf))
	if rest := w.size - end; rest > 0 {
		void := recordHeader{
			kind: kindVoid, content: uint32(max(0, rest-recordHeaderSize)),
			time: w.s.opt.Now().Unix(), batchStart: w.end.offset,
		}
		w.buf = w.s.codec.appendHeader(w.buf, location{w.end.segment, end}, &void)
		end += void.size()
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.file.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", segmentPlace(w.end.segment), err)
	}
	w.end.offset, w.size, w.marked = end, max(w.size, end), false
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

// flush writes what was gathered.
func (w *writer) flush() error {
	err := w.write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// write writes b at pos. It moves pos alone: whether that counts is append's to
// say.
func (w *writer) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(b, w.pos); err != nil {
		return fmt.Errorf("write %s: %w", segmentPlace(w.end.segment), err)
	}
	w.pos += int64(len(b))
	return nil
}

// measure finds out how many leftovers a failed write left.
func (w *writer) measure() (err error) {
	w.size, err = fileSize(w.file)
	return err
}

// mark notes that everything before it is synced, while there is nothing better
// to do. It needs no sync: if it is lost, no more is known than before.
func (w *writer) mark() {
	if w.marked || w.file == nil || w.s.failed() != nil {
		return
	}
	h := recordHeader{kind: kindMark, time: w.s.opt.Now().Unix(), batchStart: w.end.offset}
	w.buf, w.pos = w.s.codec.appendHeader(w.buf[:0], w.end, &h), w.end.offset
	if err := w.flush(); err != nil {
		w.refused(errors.Join(err, w.measure())) // nobody waits for the answer; Stats and the next put tell
		return
	}
	w.end.offset += recordHeaderSize
	w.size = max(w.size, w.end.offset)
	w.marked = true
}

func (w *writer) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}
