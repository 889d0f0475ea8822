package storage

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"servidor-backup/schemas"
)

const (
	// Records that lie so close are read with one read, with what is between
	// them: a read costs about as much as copying so many bytes.
	joinGap = 8 << 10
	// All that is between the records of a group is at most so long.
	joinGaps = 64 << 10
	// A group of chunks is looked up, read and handed over before the next: so
	// many at most, and of so many bytes unless it is a single one.
	groupChunks = 256
	groupBytes  = schemas.MaxBatch
)

// ReadAll reads chunks, or with edges alone set what [Store.Edges] gives, and
// calls visit for each id in order, until visit returns false: with the chunk,
// or with the error that Get has for it. A chunk is only valid until visit
// returns.
//
// Chunks that lie side by side, as they do when they were put together, are read
// with one read. What is read ahead of visit is at most a message's worth.
func (s *Store) ReadAll(vault schemas.VaultID, ids []schemas.ChunkID, edges bool, visit func(i int, c *schemas.Chunk, err error) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.moving.RLock()
	defer s.moving.RUnlock()
	look, err := s.index.newLookup()
	if err != nil {
		return err
	}
	g := groups.Get().(*group)
	defer groups.Put(g)
	for first := 0; first < len(ids) && err == nil; {
		var n int
		if n, err = g.find(look, vault, ids[first:], edges); err != nil {
			break
		}
		g.load(s)
		for i := range n {
			c, err := g.chunk(s, i, !edges)
			if !visit(first+i, &c, err) {
				return look.close()
			}
		}
		first += n
	}
	return errors.Join(err, look.close())
}

// group is some chunks on their way from the disk.
type group struct {
	items []item
	order []int  // of items that are to be read, by their place
	buf   []byte // what was read
	total int64  // bytes of the items
}

// groups keeps groups for their buffers.
var groups = sync.Pool{New: func() any { return new(group) }}

type item struct {
	key  indexKey
	e    entry
	held bool
	size int64  // bytes to read
	b    []byte // the record's, or nil if it is to be read by itself
}

// find looks up the first ids, as many as belong in a group.
func (g *group) find(look *lookup, vault schemas.VaultID, ids []schemas.ChunkID, edges bool) (n int, err error) {
	g.items, g.order, g.total = g.items[:0], g.order[:0], 0
	for _, id := range ids[:min(len(ids), groupChunks)] {
		g.items = append(g.items, item{key: chunkKey(vault, id, 0)})
	}
	for _, i := range inOrder(len(g.items), func(i int) *indexKey { return &g.items[i].key }) {
		it := &g.items[i]
		if it.e, it.held, err = look.get(&it.key); err != nil {
			return 0, err
		}
	}
	for n = range g.items {
		it := &g.items[n]
		if it.held && !it.e.corrupt {
			it.size = it.e.size()
			if edges {
				it.size -= int64(it.e.content)
			}
			if n > 0 && g.total+it.size > groupBytes {
				g.items = g.items[:n]
				break
			}
			g.total += it.size
			g.order = append(g.order, n)
		}
	}
	slices.SortFunc(g.order, func(a, b int) int {
		x, y := &g.items[a].e, &g.items[b].e
		return cmp.Or(cmp.Compare(x.segment, y.segment), cmp.Compare(x.offset, y.offset))
	})
	return len(g.items), nil
}

// load reads the items, neighbours with one read. Errors are left for chunk to
// find: which of the neighbours they are of, only reading one by one tells.
func (g *group) load(s *Store) {
	if int64(cap(g.buf)) < g.total+joinGaps {
		g.buf = make([]byte, g.total+joinGaps)
	}
	free := g.buf[:g.total+joinGaps]
	left := g.total // of records that are still to be read
	for order := g.order; len(order) > 0; {
		run := g.run(order, int64(len(free))-left)
		order = order[len(run):]
		from := g.items[run[0]].e.location
		to := from.offset
		for _, i := range run {
			to = max(to, g.items[i].e.offset+g.items[i].size)
			left -= g.items[i].size
		}
		b := free[:to-from.offset]
		free = free[len(b):]
		if s.readAt(b, from) != nil {
			continue
		}
		for _, i := range run {
			it := &g.items[i]
			it.b = b[it.e.offset-from.offset:][:it.size:it.size]
		}
	}
}

// run is the items, from the first in the order of their places on, that are
// read with one read. What is between them is at most gaps long.
func (g *group) run(order []int, gaps int64) []int {
	first := &g.items[order[0]].e
	end := first.offset + g.items[order[0]].size
	for n := 1; n < len(order); n++ {
		next := &g.items[order[n]]
		gap := max(0, next.e.offset-end)
		gaps -= gap
		if next.e.segment != first.segment || gap > joinGap || gaps < 0 {
			return order[:n]
		}
		end = max(end, next.e.offset+next.size)
	}
	return order
}

// chunk is the ith item's chunk, checked.
func (g *group) chunk(s *Store, i int, content bool) (c schemas.Chunk, err error) {
	it := &g.items[i]
	if it.b != nil {
		if c, err = s.decode(&it.key, &it.e, it.b, content); err == nil {
			return c, nil
		}
	}
	return s.readFound(&it.key, &it.e, it.held, content)
}
