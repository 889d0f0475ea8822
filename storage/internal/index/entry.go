package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/segment"
)

const (
	keyChunk    = 'c'
	keyDead     = 'd'
	keyPosition = 'p'
	keySegment  = 's'
	keyLost     = 'l'

	stateVersion = 3
	entrySize    = 26
	stateSize    = 1 + 12 + 4*8 + 4
	usageSize    = 2 * 8

	flagCorrupt = 1
	flagMarked  = 2
	flagVoid    = 4

	// chunkPrefix is the length of the prefix that the keys of all parts of a
	// chunk have in common.
	chunkPrefix = 1 + 16 + 32
	partSize    = 6
)

var errValue = errors.New("the index holds a value that this program did not write")

// Key names a part of a chunk. Keys are ordered by vault, chunk id and part.
type Key [chunkPrefix + partSize]byte

// NewKey returns the key of a part.
func NewKey(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) (k Key) {
	k[0] = keyChunk
	copy(k[1:], vault[:])
	copy(k[17:], id[:])
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(part))
	copy(k[chunkPrefix:], b[len(b)-partSize:])
	return k
}

// WholeKeys returns the keys of whole chunks.
func WholeKeys(vault schemas.VaultID, ids []schemas.ChunkID) []Key {
	keys := make([]Key, len(ids))
	for i := range ids {
		keys[i] = NewKey(vault, ids[i], schemas.Whole)
	}
	return keys
}

// RecordKey returns the key of a chunk's record.
func RecordKey(h *segment.Header) Key { return NewKey(h.Vault, h.ID, h.Part()) }

// Vault, ID and Part return what the key names.
func (k *Key) Vault() schemas.VaultID { return schemas.VaultID(k[1:17]) }
func (k *Key) ID() schemas.ChunkID    { return schemas.ChunkID(k[17:chunkPrefix]) }
func (k *Key) Part() schemas.Part {
	var b [8]byte
	copy(b[len(b)-partSize:], k[chunkPrefix:])
	return schemas.Part(binary.BigEndian.Uint64(b[:]))
}

// String names the part in errors.
func (k *Key) String() string {
	if p := k.Part(); p != schemas.Whole {
		return p.String() + " of chunk " + k.ID().Short()
	}
	return "chunk " + k.ID().Short()
}

// Order returns the indexes from 0 to n-1, sorted by their keys; equal keys keep
// their order. Looking keys up in this order costs less than half: each search
// goes on near the end of the search before.
func Order(n int, key func(i int) *Key) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return bytes.Compare(key(i)[:], key(j)[:]) })
	return order
}

// Entry says where a part's record is, and how long its edges and content are.
type Entry struct {
	segment.Location        // zero for a damaged record whose segment was removed
	Content          uint32 // bytes
	Edges            uint32 // number
	Kind             schemas.Kind
	Corrupt          bool // the record is known to be damaged: the part is not held
	Void             bool // and corrupt: the record can be read, but its content does not open
	// Generation is the store's generation when the part was last put, pinned or
	// marked. Marked is set if the part was marked in that generation.
	Generation uint32
	Marked     bool
}

// RecordEntry returns the entry of a chunk's record, of generation 0.
func RecordEntry(r *segment.Record) Entry {
	return Entry{
		Location: r.At, Content: r.Head.Content, Edges: r.Head.Trees + r.Head.Data,
		Kind: r.Head.Kind, Corrupt: r.State != segment.Good,
	}
}

// MarkedIn reports whether the part was marked in the generation.
func (e *Entry) MarkedIn(generation uint32) bool { return e.Marked && e.Generation == generation }

// Size is the length of the whole record, in bytes.
func (e *Entry) Size() int64 { return segment.Size(e.Edges, e.Content) }

// encode appends the entry's bytes, of which there are entrySize.
func (e *Entry) encode(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.Segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Offset))
	b = binary.LittleEndian.AppendUint32(b, e.Content)
	b = binary.LittleEndian.AppendUint32(b, e.Edges)
	var flags byte
	if e.Corrupt {
		flags |= flagCorrupt
	}
	if e.Marked {
		flags |= flagMarked
	}
	if e.Void {
		flags |= flagVoid
	}
	b = append(b, byte(e.Kind), flags)
	return binary.LittleEndian.AppendUint32(b, e.Generation)
}

func decodeEntry(b []byte) (e Entry, err error) {
	if len(b) != entrySize {
		return e, errValue
	}
	e.Segment = binary.LittleEndian.Uint32(b)
	e.Offset = int64(binary.LittleEndian.Uint64(b[4:]))
	e.Content = binary.LittleEndian.Uint32(b[12:])
	e.Edges = binary.LittleEndian.Uint32(b[16:])
	e.Kind = schemas.Kind(b[20])
	e.Corrupt, e.Marked, e.Void = b[21]&flagCorrupt != 0, b[21]&flagMarked != 0, b[21]&flagVoid != 0
	e.Generation = binary.LittleEndian.Uint32(b[22:])
	if e.Content > schemas.MaxContent || e.Edges > schemas.MaxEdges {
		return e, errValue
	}
	return e, nil
}

// State is the index's knowledge of the whole store.
type State struct {
	Position segment.Location // everything before it is indexed; zero if nothing is
	Counts
	Generation uint32 // of collection; see the package comment
}

// Counts are sums over the index: parts that are held and the bytes of their
// content, parts whose record is known to be damaged, and damaged stretches that
// name no chunk.
type Counts struct{ Chunks, Bytes, Corrupt, Damaged int64 }

// add counts the entry sign times.
func (c *Counts) add(e *Entry, sign int64) {
	if e.Corrupt {
		c.Corrupt += sign
		return
	}
	c.Chunks += sign
	c.Bytes += sign * int64(e.Content)
}

func (s *State) encode() []byte {
	b := append(make([]byte, 0, stateSize), stateVersion)
	b = binary.LittleEndian.AppendUint32(b, s.Position.Segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Position.Offset))
	for _, n := range []int64{s.Chunks, s.Bytes, s.Corrupt, s.Damaged} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return binary.LittleEndian.AppendUint32(b, s.Generation)
}

func decodeState(b []byte) (s State, err error) {
	if len(b) != stateSize || b[0] != stateVersion {
		return s, errValue
	}
	s.Position.Segment = binary.LittleEndian.Uint32(b[1:])
	s.Position.Offset = int64(binary.LittleEndian.Uint64(b[5:]))
	for i, n := range []*int64{&s.Chunks, &s.Bytes, &s.Corrupt, &s.Damaged} {
		*n = int64(binary.LittleEndian.Uint64(b[13+8*i:]))
	}
	s.Generation = binary.LittleEndian.Uint32(b[stateSize-4:])
	return s, nil
}

// Usage is the index's knowledge of one segment: the bytes of its live records,
// and the number of its damaged stretches that name no chunk.
type Usage struct{ Live, Damaged int64 }

func (u *Usage) encode() []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, usageSize), uint64(u.Live))
	return binary.LittleEndian.AppendUint64(b, uint64(u.Damaged))
}

func decodeUsage(b []byte) (u Usage, err error) {
	if len(b) != usageSize {
		return u, errValue
	}
	return Usage{int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))}, nil
}

func usageKey(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{keySegment}, n) }

func deadKey(at segment.Location) []byte {
	b := binary.BigEndian.AppendUint32([]byte{keyDead}, at.Segment)
	return binary.BigEndian.AppendUint64(b, uint64(at.Offset))
}
