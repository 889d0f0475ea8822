package storage

import (
	"bytes"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"servidor-backup/schemas"
)

// lookup answers many keys with one iterator. Unlike index.get it asks the filters of
// the lowest level too, which pays where most keys are new.
type lookup struct{ it *pebble.Iterator }

func (x *index) newLookup() (*lookup, error) {
	it, err := x.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, indexError(err)
	}
	return &lookup{it}, nil
}

// get is the entry of one key.
func (l *lookup) get(k *indexKey) (e entry, ok bool, err error) {
	if !l.it.SeekPrefixGE(k[:]) {
		if err := l.it.Error(); err != nil {
			return e, false, indexError(err)
		}
		return e, false, nil
	}
	if !bytes.Equal(l.it.Key(), k[:]) {
		return e, false, nil // of another part
	}
	if e, err = decodeEntry(l.it.Value()); err != nil {
		return e, false, indexError(err)
	}
	return e, true, nil
}

// parts calls visit with all parts of the chunk whose whole has the key, the whole
// first, until visit returns false. If it does so at once, that costs as much as get.
func (l *lookup) parts(whole *indexKey, visit func(k indexKey, e entry) bool) error {
	for ok := l.it.SeekPrefixGE(whole[:]); ok; ok = l.it.Next() {
		if len(l.it.Key()) != len(whole) {
			return indexError(errIndexValue)
		}
		e, err := decodeEntry(l.it.Value())
		if err != nil {
			return indexError(err)
		}
		if !visit(indexKey(l.it.Key()), e) {
			return nil
		}
	}
	if err := l.it.Error(); err != nil {
		return indexError(err)
	}
	return nil
}

func (l *lookup) close() error { return l.it.Close() }

// wholeKeys are the keys of whole chunks.
func wholeKeys(vault schemas.VaultID, ids []schemas.ChunkID) []indexKey {
	keys := make([]indexKey, len(ids))
	for i := range ids {
		keys[i] = partKey(vault, ids[i], schemas.Whole)
	}
	return keys
}

// inOrder is the places from 0 to n in the order of their keys; equal ones stay
// as they are. Keys that are asked for in order cost less than half: each search
// goes on near where the one before ended.
func inOrder(n int, key func(i int) *indexKey) []int {
	places := make([]int, n)
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(i, j int) int { return bytes.Compare(key(i)[:], key(j)[:]) })
	return places
}
