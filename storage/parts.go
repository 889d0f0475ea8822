package storage

import (
	"context"
	"errors"

	"servidor-backup/schemas"
)

// PartID names a part of a chunk of some vault.
type PartID struct {
	ID   schemas.ChunkID
	Part schemas.Part
}

// Cursor is a place in the order of vault, id and part, which is that of [Store.Each].
// One with a vault alone is before everything in it.
type Cursor struct {
	Vault schemas.VaultID
	PartID
}

// Held is an entry of the index.
type Held struct {
	Cursor
	Kind    schemas.Kind
	Content int  // bytes
	Corrupt bool // known to be damaged, so not held
}

// eachPage is for how many entries Each looks at the index at once.
const eachPage = 1024

var errPageFull = errors.New("the page is full")

// Each calls visit with every entry behind after, in order, until visit returns false.
// Puts go on meanwhile: what is there all the time is visited once, what comes or goes
// may be. visit may take its time, and use the store.
func (s *Store) Each(ctx context.Context, after Cursor, visit func(Held) bool) error {
	page := make([]Held, 0, eachPage)
	for {
		page = page[:0]
		if err := s.page(after, &page); err != nil {
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
		if len(page) < eachPage {
			return nil
		}
	}
}

// page fills the page with the entries behind after.
func (s *Store) page(after Cursor, page *[]Held) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	key := partKey(after.Vault, after.ID, after.Part)
	err := s.index.eachAfter(key[:], func(k indexKey, e entry) error {
		if len(*page) == cap(*page) {
			return errPageFull
		}
		*page = append(*page, Held{
			Cursor: Cursor{k.vault(), PartID{k.id(), k.part()}},
			Kind:   e.kind, Content: int(e.content), Corrupt: e.corrupt,
		})
		return nil
	})
	if errors.Is(err, errPageFull) {
		return nil
	}
	return err
}

// Drop forgets parts, damaged ones too, because others have them: still must say so, in
// the moment before, when nothing is put or said to be held here. It is asked for every
// some thousand parts; when it says no, the rest stays. The generation does not matter.
func (s *Store) Drop(ctx context.Context, vault schemas.VaultID, parts []PartID, still func() bool) (dropped int, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	keys := make([]indexKey, len(parts))
	for i, p := range parts {
		keys[i] = partKey(vault, p.ID, p.Part)
	}
	for going := true; going && len(keys) > 0; {
		now := keys[:min(len(keys), sweepBatch)]
		keys = keys[len(now):]
		err := s.turn(ctx, func() error {
			if err := s.refusal(); err != nil {
				return err
			}
			if going = still(); !going {
				return nil
			}
			n, err := s.index.drop(now)
			if err == nil {
				dropped += n
			}
			return err
		})
		if err != nil {
			return dropped, err
		}
	}
	return dropped, nil
}

// AfterDrops returns when each part whose dropping has been decided is gone: what is said
// to be held after that does not go because of an older decision.
func (s *Store) AfterDrops(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.turn(ctx, func() error { return nil })
}

// drop removes the entries of keys.
func (x *index) drop(keys []indexKey) (n int, err error) {
	err = x.rewrite(keys, func(b *indexBatch, i int, e entry, ok bool) error {
		if !ok {
			return nil
		}
		n++
		return b.remove(keys[i], e)
	})
	return n, err
}
