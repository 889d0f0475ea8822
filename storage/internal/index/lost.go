package index

import (
	"encoding/binary"
	"errors"
	"maps"
)

// Lost says how much of a segment was lost, and whether that still matters.
type Lost uint8

const (
	// LostWhole: the file is missing, or nothing of it could be read.
	LostWhole Lost = 1 << iota
	// LostPart: the disk could not read a part of the file when it was indexed.
	LostPart
	// LostSettled: every part of a chunk that was known to be in the segment has been put
	// again or forgotten.
	LostSettled
)

// Lost returns the segments that were lost. The caller owns the map.
func (x *Index) Lost() map[uint32]Lost {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.lost)
}

// LostState returns the state of segment n, 0 if it was not lost.
func (x *Index) LostState(n uint32) Lost {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lost[n]
}

// SetLost sets the state of segment n; 0 says that it is not lost, or not any more.
func (x *Index) SetLost(n uint32, state Lost) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.lost[n] == state {
		return nil
	}
	b := x.db.NewBatch()
	key := binary.BigEndian.AppendUint32([]byte{keyLost}, n)
	var err error
	if state == 0 {
		err = b.Delete(key, nil)
	} else {
		err = b.Set(key, []byte{byte(state)}, nil)
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	if err := x.commit(b, x.state, nil); err != nil {
		return err
	}
	if x.lost[n] = state; state == 0 {
		delete(x.lost, n)
	}
	return nil
}

// loadLost reads the states of lost segments.
func (x *Index) loadLost() error {
	return x.between([]byte{keyLost}, []byte{keyLost + 1}, func(key, value []byte) error {
		if len(key) != 1+4 || len(value) != 1 {
			return errValue
		}
		x.lost[binary.BigEndian.Uint32(key[1:])] = Lost(value[0])
		return nil
	})
}
