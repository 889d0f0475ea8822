package index

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
)

// Lookup looks up many keys with one iterator. Unlike [Index.Get], it also asks the
// filters of the lowest level, which pays where most keys are new. It must be
// closed, and is not safe for concurrent use.
type Lookup struct{ it *pebble.Iterator }

// NewLookup returns a lookup in the index as it is now.
func (x *Index) NewLookup() (*Lookup, error) {
	it, err := x.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, readError(err)
	}
	return &Lookup{it}, nil
}

// Get returns the entry of one key; ok is false if there is none.
func (l *Lookup) Get(k *Key) (e Entry, ok bool, err error) {
	if !l.it.SeekPrefixGE(k[:]) {
		if err := l.it.Error(); err != nil {
			return e, false, readError(err)
		}
		return e, false, nil
	}
	if !bytes.Equal(l.it.Key(), k[:]) {
		return e, false, nil // the entry is another part's
	}
	if e, err = decodeEntry(l.it.Value()); err != nil {
		return e, false, readError(err)
	}
	return e, true, nil
}

// Parts calls visit with all parts of the chunk whose whole has the given key, the
// whole first, until visit returns false. If that is the first call, Parts costs no
// more than Get.
func (l *Lookup) Parts(whole *Key, visit func(k Key, e Entry) bool) error {
	for ok := l.it.SeekPrefixGE(whole[:]); ok; ok = l.it.Next() {
		if len(l.it.Key()) != len(whole) {
			return readError(errValue)
		}
		e, err := decodeEntry(l.it.Value())
		if err != nil {
			return readError(err)
		}
		if !visit(Key(l.it.Key()), e) {
			return nil
		}
	}
	if err := l.it.Error(); err != nil {
		return readError(err)
	}
	return nil
}

// Close releases the iterator.
func (l *Lookup) Close() error { return l.it.Close() }
