package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"servidor-backup/schemas"
)

// Has says of each id whether its whole chunk is held: have, as long as ids, is filled.
// A chunk that is known to be damaged, or not yet on stable storage, is not held.
func (s *Store) Has(vault schemas.VaultID, ids []schemas.ChunkID, have []bool) (err error) {
	if len(have) != len(ids) {
		return fmt.Errorf("asked for %d chunks with room for %d answers", len(ids), len(have))
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	look, err := s.index.newLookup()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, look.close()) }()
	keys := wholeKeys(vault, ids)
	generation := s.Generation()
	var old []int // held, and so not yet said in this generation
	for _, i := range inOrder(len(keys), func(i int) *indexKey { return &keys[i] }) {
		e, ok, err := look.get(&keys[i])
		if err != nil {
			return err
		}
		if have[i] = ok && !e.corrupt; have[i] && e.generation < generation {
			old = append(old, i)
		}
	}
	return s.promise(keys, old, have)
}

// Parts calls visit for each part that is held of each id, in the order of ids and
// parts, until visit returns an error. As with Has, what is visited stays.
func (s *Store) Parts(vault schemas.VaultID, ids []schemas.ChunkID, visit func(i int, p schemas.Part) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	keys, of, err := s.promisedParts(vault, ids)
	s.leave()
	for n := range keys {
		if err != nil {
			break
		}
		err = visit(of[n], keys[n].part())
	}
	return err
}

// Look is Parts without a promise: what is visited may be swept as if nobody had asked.
// It is for those who only want to know where things are.
func (s *Store) Look(vault schemas.VaultID, ids []schemas.ChunkID, visit func(i int, p schemas.Part) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	type part struct {
		i int
		p schemas.Part
	}
	var found []part
	err := s.parts(vault, ids, func(i int, k indexKey, e entry) {
		if !e.corrupt {
			found = append(found, part{i, k.part()})
		}
	})
	s.leave()
	slices.SortStableFunc(found, func(a, b part) int { return cmp.Compare(a.i, b.i) })
	for _, f := range found {
		if err != nil {
			break
		}
		err = visit(f.i, f.p)
	}
	return err
}

// promisedParts are the parts that are held of the ids, and of which of them each is.
func (s *Store) promisedParts(vault schemas.VaultID, ids []schemas.ChunkID) (keys []indexKey, of []int, err error) {
	generation := s.Generation()
	var old []int
	err = s.parts(vault, ids, func(i int, k indexKey, e entry) {
		if e.corrupt {
			return
		}
		if e.generation < generation {
			old = append(old, len(keys))
		}
		keys, of = append(keys, k), append(of, i)
	})
	if err != nil {
		return nil, nil, err
	}
	held := make([]bool, len(keys))
	for n := range held {
		held[n] = true
	}
	if err := s.promise(keys, old, held); err != nil {
		return nil, nil, err
	}
	order := make([]int, 0, len(keys))
	for n := range keys {
		if held[n] {
			order = append(order, n)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(of[a], of[b]) })
	sorted, places := make([]indexKey, len(order)), make([]int, len(order))
	for n, at := range order {
		sorted[n], places[n] = keys[at], of[at]
	}
	return sorted, places, nil
}

// parts calls found for each entry of the ids, in the order of keys.
func (s *Store) parts(vault schemas.VaultID, ids []schemas.ChunkID, found func(i int, k indexKey, e entry)) (err error) {
	look, err := s.index.newLookup()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, look.close()) }()
	keys := wholeKeys(vault, ids)
	for _, i := range inOrder(len(keys), func(i int) *indexKey { return &keys[i] }) {
		err := look.parts(&keys[i], func(k indexKey, e entry) bool {
			found(i, k, e)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// promise notes that the old ones of keys are about to be said to be held. A store
// that has failed may not be able to; it needs no notes either, because it is not
// swept any more.
func (s *Store) promise(keys []indexKey, old []int, have []bool) error {
	if len(old) == 0 {
		return nil
	}
	some, held := make([]indexKey, len(old)), make([]bool, len(old))
	for n, i := range old {
		some[n] = keys[i]
	}
	err := s.turn(context.Background(), func() error { return s.index.promise(some, held) })
	if err != nil && s.failed() == nil {
		return err
	}
	for n := range some {
		if err == nil {
			break
		}
		e, ok, err := s.index.get(&some[n])
		if err != nil {
			return err
		}
		held[n] = ok && !e.corrupt
	}
	for n, i := range old {
		have[i] = held[n]
	}
	return nil
}

// Get reads a whole chunk and checks it. Its memory is the caller's.
//
// Errors are of the codes [schemas.NotHeld], [schemas.Corrupt] (which names the
// place; from then on Has says no, and the next Put of the chunk replaces it),
// [schemas.DiskFailed] if the disk does not read, and [schemas.NodeClosed].
func (s *Store) Get(vault schemas.VaultID, id schemas.ChunkID) (schemas.Chunk, error) {
	return s.read(partKey(vault, id, schemas.Whole), true)
}

// Edges is Get without the content, which it does not read: the sum is the
// whole chunk's, what was checked is the edges.
func (s *Store) Edges(vault schemas.VaultID, id schemas.ChunkID) (schemas.Chunk, error) {
	return s.read(partKey(vault, id, schemas.Whole), false)
}

// GetPart is Get for one part of the chunk.
func (s *Store) GetPart(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) (schemas.Chunk, error) {
	return s.read(partKey(vault, id, part), true)
}

func (s *Store) read(k indexKey, content bool) (c schemas.Chunk, err error) {
	if err := s.enter(); err != nil {
		return c, err
	}
	defer s.leave()
	s.moving.RLock()
	defer s.moving.RUnlock()
	e, ok, err := s.index.get(&k)
	if err != nil {
		return c, err
	}
	return s.readFound(&k, &e, ok, content)
}

// readFound reads the chunk whose entry is e, if it is held.
func (s *Store) readFound(k *indexKey, e *entry, held, content bool) (c schemas.Chunk, err error) {
	switch {
	case !held:
		return c, schemas.Errorf(schemas.NotHeld, "node %s does not hold %v; ask the others of its set", s.identity.node, k)
	case e.corrupt:
		return c, s.corruptError(k, e)
	}
	c, err = s.readEntry(k, e, content)
	if errors.Is(err, errRecord) {
		return schemas.Chunk{}, errors.Join(s.corruptError(k, e), s.index.markCorrupt(k, e.location))
	}
	return c, err
}

func (s *Store) corruptError(k *indexKey, e *entry) error {
	where := "in a segment that was removed since"
	if e.segment != 0 {
		where = fmt.Sprintf("in %s at offset %d", segmentPlace(e.segment), e.offset)
	}
	return schemas.Errorf(schemas.Corrupt, "%v is damaged on node %s, %s; read it from another node and put it here again",
		k, s.identity.node, where)
}

// readEntry reads a chunk, or its edges alone, with one read. It fails with
// errRecord if what is there is not the chunk.
func (s *Store) readEntry(k *indexKey, e *entry, content bool) (c schemas.Chunk, err error) {
	size := e.size()
	if !content {
		size -= int64(e.content)
	}
	b := make([]byte, size)
	if err := s.readAt(b, e.location); err != nil {
		return c, err
	}
	return s.decode(k, e, b, content)
}

// decode is readEntry for the bytes that were read.
func (s *Store) decode(k *indexKey, e *entry, b []byte, content bool) (c schemas.Chunk, err error) {
	h, err := s.decodeFront(k, e, b)
	if err != nil {
		return c, err
	}
	c = chunkOf(&h, b[recordHeaderSize:])
	if content && !bodyOK(&h, &c) || !content && !edgesOK(&h, &c) {
		return c, errRecord
	}
	if !content {
		c.Content = nil
	}
	return c, nil
}

// decodeFront is decode for the header alone, which b begins with.
func (s *Store) decodeFront(k *indexKey, e *entry, b []byte) (h recordHeader, err error) {
	h, err = s.codec.decodeHeader(b, e.location)
	if err == nil && (h.vault != k.vault() || h.id != k.id() || h.part() != k.part() || h.size() != e.size() || h.content != e.content) {
		err = errRecord
	}
	return h, err
}

// readAt fills b from the place. A segment that ends before is errRecord.
func (s *Store) readAt(b []byte, at location) error {
	f, err := s.files.acquire(at.segment)
	if err == nil {
		err = errors.Join(readFull(f, b, at.offset), s.files.release(f))
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errRecord
	}
	return fmt.Errorf("%w: %w", schemas.Errorf(schemas.DiskFailed,
		"node %s cannot read %s at offset %d; look after its disk", s.identity.node, segmentPlace(at.segment), at.offset), err)
}
