package storage

import (
	"cmp"
	"errors"
	"fmt"
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
	// Content of so many bytes is read straight to where it is wanted: that is a
	// read more, and a copy less.
	longContent = 64 << 10
)

// Found is a chunk on its way to a visitor of [Store.ReadAll]. It is good until
// the visitor returns.
type Found struct {
	schemas.Chunk     // all but the content
	Len           int // of the content, in bytes; 0 if edges alone were asked for

	s       *Store
	it      *item
	head    recordHeader
	body    []byte // the content, if it was read already
	checked bool
}

// ReadAll looks up chunks, or with edges alone set what [Store.Edges] gives, and
// calls visit for each id in order, until visit returns false: with the chunk,
// whose content waits for [Found.Read], or with the error that Get has for it. Of a
// chunk that is not held whole, visit sees every shard that is held, one after the
// other with the same i, as chunks; only if there is none it gets the error.
//
// Short chunks that lie side by side, as they do when they were put together, are
// read with one read. What is read ahead of visit is at most a message's worth.
func (s *Store) ReadAll(vault schemas.VaultID, ids []schemas.ChunkID, edges bool, visit func(i int, c *Found, err error) bool) error {
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
		for i := range g.items {
			c, err := g.found(s, i, edges)
			if !visit(first+g.items[i].of, c, err) {
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
	spare []item // takes the place of items
	order []int  // of items that are to be read, by their place
	buf   []byte // what was read
	total int64  // bytes to read of the items
	out   Found  // what the visitor is looking at
}

// groups keeps groups for their buffers.
var groups = sync.Pool{New: func() any { return new(group) }}

type item struct {
	of   int // the place of its id in the group
	key  indexKey
	e    entry
	held bool
	size int64  // bytes to read, of the record's beginning
	b    []byte // what was read, or nil if it is to be read by itself
}

// find looks up the first ids, as many as belong in a group, and says how many.
func (g *group) find(look *lookup, vault schemas.VaultID, ids []schemas.ChunkID, edges bool) (n int, err error) {
	g.items, g.order, g.total = g.items[:0], g.order[:0], 0
	for _, id := range ids[:min(len(ids), groupChunks)] {
		g.items = append(g.items, item{of: len(g.items), key: partKey(vault, id, schemas.Whole)})
	}
	if err := g.lookUp(look); err != nil {
		return 0, err
	}
	all := int64(0) // bytes that a visitor may want
	for i := range g.items {
		it := &g.items[i]
		if it.held && !it.e.corrupt {
			it.size = it.e.size()
			content := int64(it.e.content)
			if edges || content >= longContent {
				it.size -= content
			}
			if edges {
				content = 0
			}
			if all += recordHeaderSize + content; it.of > 0 && (all > groupBytes || g.total+it.size > groupBytes) {
				g.cut(it.of)
				break
			}
			g.total += it.size
			g.order = append(g.order, i)
		}
	}
	slices.SortFunc(g.order, func(a, b int) int {
		x, y := &g.items[a].e, &g.items[b].e
		return cmp.Or(cmp.Compare(x.segment, y.segment), cmp.Compare(x.offset, y.offset))
	})
	return g.items[len(g.items)-1].of + 1, nil
}

// lookUp fills the items, of which there is one for each id. Where the whole chunk is
// not held, the shards that are take its place.
func (g *group) lookUp(look *lookup) error {
	var shards []item
	for _, i := range inOrder(len(g.items), func(i int) *indexKey { return &g.items[i].key }) {
		it := &g.items[i]
		err := look.parts(&it.key, func(k indexKey, e entry) bool {
			switch {
			case k.part() != schemas.Whole && !e.corrupt:
				shards = append(shards, item{of: i, key: k, e: e, held: true})
			case !it.held: // by the whole, or by a damaged shard
				it.key, it.e, it.held = k, e, true
			}
			return e.corrupt || k.part() != schemas.Whole
		})
		if err != nil {
			return err
		}
	}
	if len(shards) == 0 {
		return nil
	}
	slices.SortStableFunc(shards, func(a, b item) int { return cmp.Compare(a.of, b.of) })
	all := g.spare[:0]
	for _, it := range g.items {
		if len(shards) == 0 || shards[0].of != it.of {
			all = append(all, it)
		}
		for ; len(shards) > 0 && shards[0].of == it.of; shards = shards[1:] {
			all = append(all, shards[0])
		}
	}
	g.items, g.spare = all, g.items
	return nil
}

// cut leaves the items of the first ids, so many.
func (g *group) cut(ids int) {
	n, _ := slices.BinarySearchFunc(g.items, ids, func(it item, ids int) int { return cmp.Compare(it.of, ids) })
	for last := len(g.order) - 1; last >= 0 && g.order[last] >= n; last-- {
		g.total -= g.items[g.order[last]].size
		g.order = g.order[:last]
	}
	g.items = g.items[:n]
}

// load reads the items, neighbours with one read. Errors are left for found to
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

// found is the ith item's chunk. If edges alone are wanted, they are checked.
func (g *group) found(s *Store, i int, edges bool) (*Found, error) {
	it := &g.items[i]
	f := &g.out
	*f = Found{s: s, it: it}
	if it.b != nil {
		if head, err := s.decodeFront(&it.key, &it.e, it.b); err == nil {
			f.head = head
			f.Chunk = chunkOf(&head, it.b[recordHeaderSize:])
			f.body, f.Content = f.Content, nil
			if !edges {
				f.Len = int(head.content)
				return f, nil
			}
			if edgesOK(&head, &f.Chunk) {
				f.checked = true
				return f, nil
			}
		}
	}
	c, err := s.readFound(&it.key, &it.e, it.held, !edges)
	f.Chunk, f.body, f.Len, f.checked = c, c.Content, len(c.Content), true
	f.Content = nil
	return f, err
}

// Read fills dst, which has Len bytes, with the content, and checks the chunk. Its
// errors are those of [Store.Get]. The chunk's Content is dst from then on.
func (f *Found) Read(dst []byte) error {
	if len(dst) != f.Len {
		return fmt.Errorf("asked for %d bytes of a content of %d", len(dst), f.Len)
	}
	f.Content = dst
	if len(f.body) == f.Len {
		copy(dst, f.body)
	} else if at := f.it.e.location; f.s.readAt(dst, location{at.segment, at.offset + f.it.size}) != nil {
		return f.again(dst)
	}
	if f.checked || bodyOK(&f.head, &f.Chunk) {
		return nil
	}
	return f.again(dst)
}

// again reads the chunk by itself, which says what is wrong with it.
func (f *Found) again(dst []byte) error {
	c, err := f.s.readFound(&f.it.key, &f.it.e, true, true)
	if err != nil {
		return err
	}
	f.Chunk = c
	f.Content = dst[:copy(dst, c.Content)]
	return nil
}
