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
// whose content waits for [Found.Read], or with the error that Get has for it.
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
		for i := range n {
			c, err := g.found(s, i, edges)
			if !visit(first+i, c, err) {
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
	total int64  // bytes to read of the items
	out   Found  // what the visitor is looking at
}

// groups keeps groups for their buffers.
var groups = sync.Pool{New: func() any { return new(group) }}

type item struct {
	key  indexKey
	e    entry
	held bool
	size int64  // bytes to read, of the record's beginning
	b    []byte // what was read, or nil if it is to be read by itself
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
	all := int64(0) // bytes that a visitor may want
	for n = range g.items {
		it := &g.items[n]
		if it.held && !it.e.corrupt {
			it.size = it.e.size()
			content := int64(it.e.content)
			if edges || content >= longContent {
				it.size -= content
			}
			if edges {
				content = 0
			}
			if all += recordHeaderSize + content; n > 0 && (all > groupBytes || g.total+it.size > groupBytes) {
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
