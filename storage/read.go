package storage

import (
	"context"
	"errors"
	"fmt"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

// Get reads a whole chunk and checks it. The caller owns its memory.
//
// Errors are of the codes [schemas.NotHeld], [schemas.Corrupt] (the record is damaged or the
// disk cannot read it; the error names the location; from then on the chunk is not held, and
// the next Put of it replaces it), [schemas.DiskFailed] if the process has too few resources to
// read, and [schemas.NodeClosed]. A chunk that can be read again is held again.
func (s *Store) Get(vault schemas.VaultID, id schemas.ChunkID) (schemas.Chunk, error) {
	return s.getPart(index.NewKey(vault, id, schemas.Whole), true)
}

// Edges is Get without the content, which it does not read: the chunk's sum is that
// of the whole chunk, but only the edges are checked.
func (s *Store) Edges(vault schemas.VaultID, id schemas.ChunkID) (schemas.Chunk, error) {
	return s.getPart(index.NewKey(vault, id, schemas.Whole), false)
}

// GetPart is Get for one part of the chunk.
func (s *Store) GetPart(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) (schemas.Chunk, error) {
	return s.getPart(index.NewKey(vault, id, part), true)
}

// Void notes that a part whose checksum is sum does not open, as a client has found, which has the
// key of the vault: from then on the part is not held, although its record is sound, and the next
// Put of it replaces it. Until then it can be read as before. Void reports whether the part is void
// now: not if it is not there, is damaged, or has another checksum. When the index is rebuilt from
// the segments, the note is lost, and a part that was not replaced counts as held.
func (s *Store) Void(ctx context.Context, vault schemas.VaultID, part PartID, sum schemas.Sum) (void bool, err error) {
	if err := s.gate.enter(); err != nil {
		return false, err
	}
	defer s.gate.leave()
	k := index.NewKey(vault, part.ID, part.Part)
	// While the writer rests, no record is replaced or moved.
	err = s.writer.turn(ctx, func() error {
		if err := s.health.refusal(); err != nil {
			return err
		}
		c, err := s.getPart(k, true)
		if err != nil || c.Sum != sum {
			return err
		}
		e, _, err := s.index.Get(&k)
		void = err == nil
		return errors.Join(err, s.index.MarkVoid(&k, e.Location))
	})
	switch schemas.CodeOf(err) {
	case schemas.NotHeld, schemas.Corrupt:
		return false, nil
	}
	return void && err == nil, err
}

func (s *Store) getPart(k index.Key, content bool) (c schemas.Chunk, err error) {
	if err := s.gate.enter(); err != nil {
		return c, err
	}
	defer s.gate.leave()
	s.segments.reading.RLock()
	defer s.segments.reading.RUnlock()
	e, ok, err := s.index.Get(&k)
	if err != nil {
		return c, err
	}
	return s.reader.readFound(&k, &e, ok, content)
}

// ReadAll looks up chunks and calls visit for each id, in order, until visit returns
// false: with the chunk, whose content waits for [Found.Read], or with the error
// that Get returns for it. If edges is set, it gives what [Store.Edges] gives. For a
// chunk that is not held whole, visit is called with every held shard, one after
// the other with the same i, as with chunks; it gets the error only if there is no
// shard either.
//
// Short chunks that lie side by side, as those of one put do, are read with one
// read. At most one message's worth of bytes is read ahead of visit.
func (s *Store) ReadAll(vault schemas.VaultID, ids []schemas.ChunkID, edges bool, visit func(i int, c *Found, err error) bool) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	s.segments.reading.RLock()
	defer s.segments.reading.RUnlock()
	return s.reader.readAll(vault, ids, edges, visit)
}

// reader reads the records of chunks. Its callers hold segments.reading for reading
// from the lookup of an entry on.
type reader struct {
	node     schemas.NodeID
	segments *segments
	index    *index.Index
}

// readFound reads the chunk whose entry is e, if it is held. If the record is damaged, or the
// disk cannot read it, it notes that in the index. A record that is known to be damaged is read
// all the same: a disk that did not read it once may do so now, and then it is held again. A void
// part is read, too: whoever found that it does not open may have been wrong.
func (r *reader) readFound(k *index.Key, e *index.Entry, held, content bool) (c schemas.Chunk, err error) {
	switch {
	case !held:
		return c, schemas.Errorf(schemas.NotHeld, "node %s does not hold %v; ask the other nodes it is assigned to", r.node, k)
	case e.Corrupt && e.Segment == 0:
		return c, r.corruptError(k, e)
	}
	c, err = r.readEntry(k, e, content || e.Corrupt)
	switch {
	case err == nil && e.Corrupt:
		if !content {
			c.Content = nil
		}
		return c, r.index.MarkSound(k, e.Location) // which leaves a void part as it is
	case err == nil || isPassing(err):
		return c, err
	case !errors.Is(err, segment.ErrRecord):
		err = fmt.Errorf("%w: %w", r.corruptError(k, e), err)
	default:
		err = r.corruptError(k, e)
	}
	return schemas.Chunk{}, errors.Join(err, r.index.MarkCorrupt(k, e.Location))
}

func (r *reader) corruptError(k *index.Key, e *index.Entry) error {
	where := "in a segment that was removed since, or lost"
	if e.Segment != 0 {
		where = fmt.Sprintf("in %s at offset %d", segmentLabel(e.Segment), e.Offset)
	}
	return schemas.Errorf(schemas.Corrupt, "%v is damaged on node %s, %s; read it from another node and put it here again",
		k, r.node, where)
}

// readEntry reads a chunk, or only its edges, with one read. Its error is
// [segment.ErrRecord] if the bytes are not the chunk's.
func (r *reader) readEntry(k *index.Key, e *index.Entry, content bool) (c schemas.Chunk, err error) {
	size := e.Size()
	if !content {
		size -= int64(e.Content)
	}
	b := make([]byte, size)
	if err := r.segments.readAt(b, e.Location); err != nil {
		return c, err
	}
	return r.decode(k, e, b, content)
}

// decode decodes and checks the bytes that readEntry read.
func (r *reader) decode(k *index.Key, e *index.Entry, b []byte, content bool) (c schemas.Chunk, err error) {
	h, err := r.decodeHeader(k, e, b)
	if err != nil {
		return c, err
	}
	c = h.Chunk(b[segment.HeaderSize:])
	if content && !h.Matches(&c) || !content && !h.EdgesMatch(&c) {
		return c, segment.ErrRecord
	}
	if !content {
		c.Content = nil
	}
	return c, nil
}

// decodeHeader decodes the header that b begins with, and checks that it is the one
// of the part.
func (r *reader) decodeHeader(k *index.Key, e *index.Entry, b []byte) (h segment.Header, err error) {
	h, err = r.segments.codec.DecodeHeader(b, e.Location)
	if err == nil && (h.Vault != k.Vault() || h.ID != k.ID() || h.Part() != k.Part() || h.Size() != e.Size() || h.Content != e.Content) {
		err = segment.ErrRecord
	}
	return h, err
}
