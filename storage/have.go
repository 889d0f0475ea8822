package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/index"
)

// PartID names a part of a chunk within a vault.
type PartID struct {
	ID   schemas.ChunkID
	Part schemas.Part
}

// Cursor is a position in the order of vault, id and part, which is the order of
// [Store.Each]. A cursor with a vault alone is before all parts of the vault.
type Cursor struct {
	Vault schemas.VaultID
	PartID
}

// Held is a part that the index knows.
type Held struct {
	Cursor
	Kind    schemas.Kind
	Content int  // bytes
	Corrupt bool // known to be damaged, and therefore not held
}

// Has reports for each id whether the whole chunk is held: it fills have, which is
// as long as ids. A chunk that is known to be damaged, or is not yet on stable
// storage, is not held. Has pins the chunks that it reports.
func (s *Store) Has(vault schemas.VaultID, ids []schemas.ChunkID, have []bool) (err error) {
	if len(have) != len(ids) {
		return fmt.Errorf("asked for %d chunks with %d answers to fill", len(ids), len(have))
	}
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	look, err := s.index.NewLookup()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, look.Close()) }()
	keys := index.WholeKeys(vault, ids)
	generation := s.Generation()
	var old []int // indexes of held chunks that are not pinned in this generation
	for _, i := range index.Order(len(keys), func(i int) *index.Key { return &keys[i] }) {
		e, ok, err := look.Get(&keys[i])
		if err != nil {
			return err
		}
		if have[i] = ok && !e.Corrupt; have[i] && e.Generation < generation {
			old = append(old, i)
		}
	}
	return s.pin(keys, old, have)
}

// Parts calls visit for each held part of each id, in the order of ids and then of
// parts, until visit returns an error. It pins the parts before it visits them.
func (s *Store) Parts(vault schemas.VaultID, ids []schemas.ChunkID, visit func(i int, p schemas.Part) error) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	parts, err := s.pinnedParts(vault, ids)
	s.gate.leave()
	for n := range parts {
		if err != nil {
			break
		}
		err = visit(parts[n].of, parts[n].part)
	}
	return err
}

// Look is [Store.Parts] without pinning: a sweep may remove the parts at any time.
// It is for callers that only want to know where parts are.
func (s *Store) Look(vault schemas.VaultID, ids []schemas.ChunkID, visit func(i int, p schemas.Part) error) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	var parts []foundPart
	err := s.eachPart(vault, ids, func(i int, k index.Key, e index.Entry) {
		if !e.Corrupt {
			parts = append(parts, foundPart{i, k.Part()})
		}
	})
	s.gate.leave()
	sortParts(parts)
	for n := range parts {
		if err != nil {
			break
		}
		err = visit(parts[n].of, parts[n].part)
	}
	return err
}

// foundPart is a held part of a chunk that was asked for.
type foundPart struct {
	of   int // index of the chunk's id
	part schemas.Part
}

// sortParts sorts parts by id; the parts of one id keep their order.
func sortParts(parts []foundPart) {
	slices.SortStableFunc(parts, func(a, b foundPart) int { return cmp.Compare(a.of, b.of) })
}

// pinnedParts pins the held parts of the ids and returns them, in the order of ids
// and then of parts.
func (s *Store) pinnedParts(vault schemas.VaultID, ids []schemas.ChunkID) ([]foundPart, error) {
	generation := s.Generation()
	var keys []index.Key
	var of []int  // of each key, the index of its id
	var old []int // indexes of keys that are not pinned in this generation
	err := s.eachPart(vault, ids, func(i int, k index.Key, e index.Entry) {
		if e.Corrupt {
			return
		}
		if e.Generation < generation {
			old = append(old, len(keys))
		}
		keys, of = append(keys, k), append(of, i)
	})
	if err != nil {
		return nil, err
	}
	held := make([]bool, len(keys))
	for n := range held {
		held[n] = true
	}
	if err := s.pin(keys, old, held); err != nil {
		return nil, err
	}
	parts := make([]foundPart, 0, len(keys))
	for n := range keys {
		if held[n] {
			parts = append(parts, foundPart{of[n], keys[n].Part()})
		}
	}
	sortParts(parts)
	return parts, nil
}

// eachPart calls found for each entry of the ids, in the order of keys.
func (s *Store) eachPart(vault schemas.VaultID, ids []schemas.ChunkID, found func(i int, k index.Key, e index.Entry)) (err error) {
	look, err := s.index.NewLookup()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, look.Close()) }()
	keys := index.WholeKeys(vault, ids)
	for _, i := range index.Order(len(keys), func(i int) *index.Key { return &keys[i] }) {
		err := look.Parts(&keys[i], func(k index.Key, e index.Entry) bool {
			found(i, k, e)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pin pins those keys whose indexes are in old, before they are reported as held.
// For these it sets have: whether the part is still held. A store that has failed
// may be unable to pin. It need not: a store that has failed is not swept.
func (s *Store) pin(keys []index.Key, old []int, have []bool) error {
	if len(old) == 0 {
		return nil
	}
	batch, held := make([]index.Key, len(old)), make([]bool, len(old))
	for n, i := range old {
		batch[n] = keys[i]
	}
	err := s.writer.turn(context.Background(), func() error { return s.index.Pin(batch, held) })
	if err != nil && s.health.failed() == nil {
		return err
	}
	for n := range batch {
		if err == nil {
			break
		}
		e, ok, err := s.index.Get(&batch[n])
		if err != nil {
			return err
		}
		held[n] = ok && !e.Corrupt
	}
	for n, i := range old {
		have[i] = held[n]
	}
	return nil
}

// pageSize is the number of entries that Each reads from the index at once.
const pageSize = 1024

var errPageFull = errors.New("the page is full")

// Each calls visit with every part behind after, in order, until visit returns
// false. Puts go on meanwhile: a part that the store holds all the time is visited
// once; a part that comes or goes may be visited. visit may take its time, and may
// use the store.
func (s *Store) Each(ctx context.Context, after Cursor, visit func(Held) bool) error {
	page := make([]Held, 0, pageSize)
	for {
		page = page[:0]
		if err := s.readPage(after, &page); err != nil {
			return err
		}
		for _, h := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !visit(h) {
				return nil
			}
			after = h.Cursor
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// readPage fills the page with the parts behind after.
func (s *Store) readPage(after Cursor, page *[]Held) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	key := index.NewKey(after.Vault, after.ID, after.Part)
	err := s.index.EachAfter(&key, func(k index.Key, e index.Entry) error {
		if len(*page) == cap(*page) {
			return errPageFull
		}
		*page = append(*page, Held{
			Cursor: Cursor{k.Vault(), PartID{k.ID(), k.Part()}},
			Kind:   e.Kind, Content: int(e.Content), Corrupt: e.Corrupt,
		})
		return nil
	})
	if errors.Is(err, errPageFull) {
		return nil
	}
	return err
}
