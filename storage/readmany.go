package storage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

const (
	// joinGap is the largest distance, in bytes, between records that are read with
	// one read: a read costs about as much as copying that many bytes.
	joinGap = 8 << 10
	// joinGaps limits the sum of all such distances in a group.
	joinGaps = 64 << 10
	// groupChunks and groupBytes limit a group: the chunks that are looked up, read
	// and visited before the next ones. A single chunk may have more bytes.
	groupChunks = 256
	groupBytes  = schemas.MaxBatch
	// longContent is the length from which content is read straight into the
	// visitor's buffer, which costs one more read and saves a copy.
	longContent = 64 << 10
)

// Found is a chunk on its way to a visitor of [Store.ReadAll]. It is valid until the
// visitor returns.
type Found struct {
	schemas.Chunk     // all but the content
	Len           int // of the content, in bytes; 0 if only edges were asked for

	reader  *reader
	it      *item
	head    segment.Header
	body    []byte // the content, if it was read already
	checked bool
}

// readAll is Store.ReadAll for callers that hold the locks.
func (r *reader) readAll(vault schemas.VaultID, ids []schemas.ChunkID, edges bool, visit func(i int, c *Found, err error) bool) error {
	look, err := r.index.NewLookup()
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
		g.load(r.segments)
		for i := range g.items {
			c, err := g.found(r, i, edges)
			if !visit(first+g.items[i].of, c, err) {
				return look.Close()
			}
		}
		first += n
	}
	return errors.Join(err, look.Close())
}

// group are chunks on their way from the disk.
type group struct {
	items []item
	other []item // the memory that lookUp writes the next items to
	order []int  // indexes of the items to read, ordered by location
	buf   []byte // the bytes that were read
	total int64  // bytes to read for the items
	out   Found  // the chunk that the visitor looks at
}

// groups keeps groups for their buffers.
var groups = sync.Pool{New: func() any { return new(group) }}

type item struct {
	of   int // index of the item's id in the group
	key  index.Key
	e    index.Entry
	held bool
	size int64  // bytes of the record to read, from its beginning
	b    []byte // the bytes that were read, or nil if the item must be read by itself
}

// find looks up the first ids, as many as belong in a group, and returns their
// number.
func (g *group) find(look *index.Lookup, vault schemas.VaultID, ids []schemas.ChunkID, edges bool) (n int, err error) {
	g.items, g.order, g.total = g.items[:0], g.order[:0], 0
	for _, id := range ids[:min(len(ids), groupChunks)] {
		g.items = append(g.items, item{of: len(g.items), key: index.NewKey(vault, id, schemas.Whole)})
	}
	if err := g.lookUp(look); err != nil {
		return 0, err
	}
	all := int64(0) // bytes that a visitor may want
	for i := range g.items {
		it := &g.items[i]
		if it.held && !it.e.Corrupt {
			it.size = it.e.Size()
			content := int64(it.e.Content)
			if edges || content >= longContent {
				it.size -= content
			}
			if edges {
				content = 0
			}
			if all += segment.HeaderSize + content; it.of > 0 && (all > groupBytes || g.total+it.size > groupBytes) {
				g.cut(it.of)
				break
			}
			g.total += it.size
			g.order = append(g.order, i)
		}
	}
	slices.SortFunc(g.order, func(a, b int) int {
		x, y := &g.items[a].e, &g.items[b].e
		return cmp.Or(cmp.Compare(x.Segment, y.Segment), cmp.Compare(x.Offset, y.Offset))
	})
	return g.items[len(g.items)-1].of + 1, nil
}

// lookUp sets the entries of the items, of which there is one for each id. Where the
// whole chunk is not held, it replaces the item by the shards that are held.
func (g *group) lookUp(look *index.Lookup) error {
	var shards []item
	for _, i := range index.Order(len(g.items), func(i int) *index.Key { return &g.items[i].key }) {
		it := &g.items[i]
		err := look.Parts(&it.key, func(k index.Key, e index.Entry) bool {
			switch {
			case k.Part() != schemas.Whole && !e.Corrupt:
				shards = append(shards, item{of: i, key: k, e: e, held: true})
			case !it.held: // k is the whole, or a damaged shard
				it.key, it.e, it.held = k, e, true
			}
			return e.Corrupt || k.Part() != schemas.Whole
		})
		if err != nil {
			return err
		}
	}
	if len(shards) == 0 {
		return nil
	}
	slices.SortStableFunc(shards, func(a, b item) int { return cmp.Compare(a.of, b.of) })
	all := g.other[:0]
	for _, it := range g.items {
		if len(shards) == 0 || shards[0].of != it.of {
			all = append(all, it)
		}
		for ; len(shards) > 0 && shards[0].of == it.of; shards = shards[1:] {
			all = append(all, shards[0])
		}
	}
	g.items, g.other = all, g.items
	return nil
}

// cut keeps only the items of the first ids.
func (g *group) cut(ids int) {
	n, _ := slices.BinarySearchFunc(g.items, ids, func(it item, ids int) int { return cmp.Compare(it.of, ids) })
	for last := len(g.order) - 1; last >= 0 && g.order[last] >= n; last-- {
		g.total -= g.items[g.order[last]].size
		g.order = g.order[:last]
	}
	g.items = g.items[:n]
}

// load reads the items, neighbours with one read. It drops errors, because only reading
// the items one by one shows which of them an error belongs to; found does that.
func (g *group) load(s *segments) {
	if int64(cap(g.buf)) < g.total+joinGaps {
		g.buf = make([]byte, g.total+joinGaps)
	}
	free := g.buf[:g.total+joinGaps]
	left := g.total // bytes of the records that are still to be read
	for order := g.order; len(order) > 0; {
		run := g.run(order, int64(len(free))-left)
		order = order[len(run):]
		from := g.items[run[0]].e.Location
		to := from.Offset
		for _, i := range run {
			to = max(to, g.items[i].e.Offset+g.items[i].size)
			left -= g.items[i].size
		}
		b := free[:to-from.Offset]
		free = free[len(b):]
		if s.readAt(b, from) != nil {
			continue
		}
		for _, i := range run {
			it := &g.items[i]
			it.b = b[it.e.Offset-from.Offset:][:it.size:it.size]
		}
	}
}

// run returns those first items of order that are read with one read. The bytes
// between them are at most gaps.
func (g *group) run(order []int, gaps int64) []int {
	first := &g.items[order[0]].e
	end := first.Offset + g.items[order[0]].size
	for n := 1; n < len(order); n++ {
		next := &g.items[order[n]]
		gap := max(0, next.e.Offset-end)
		gaps -= gap
		if next.e.Segment != first.Segment || gap > joinGap || gaps < 0 {
			return order[:n]
		}
		end = max(end, next.e.Offset+next.size)
	}
	return order
}

// found returns the chunk of item i. If edges is set, it checks the edges;
// otherwise Found.Read checks the chunk.
func (g *group) found(r *reader, i int, edges bool) (*Found, error) {
	it := &g.items[i]
	f := &g.out
	*f = Found{reader: r, it: it}
	if it.b != nil {
		if head, err := r.decodeHeader(&it.key, &it.e, it.b); err == nil {
			f.head = head
			f.Chunk = head.Chunk(it.b[segment.HeaderSize:])
			f.body, f.Content = f.Content, nil
			if !edges {
				f.Len = int(head.Content)
				return f, nil
			}
			if head.EdgesMatch(&f.Chunk) {
				f.checked = true
				return f, nil
			}
		}
	}
	c, err := r.readFound(&it.key, &it.e, it.held, !edges)
	f.Chunk, f.body, f.Len, f.checked = c, c.Content, len(c.Content), true
	f.Content = nil
	return f, err
}

// Read fills dst, whose length is Len, with the content, and checks the chunk. Its
// errors are those of [Store.Get]. Afterwards the chunk's Content is dst.
func (f *Found) Read(dst []byte) error {
	if len(dst) != f.Len {
		return fmt.Errorf("asked for %d bytes of a content of %d", len(dst), f.Len)
	}
	f.Content = dst
	if len(f.body) == f.Len {
		copy(dst, f.body)
	} else if at := f.it.e.Location; f.reader.segments.readAt(dst, segment.Location{Segment: at.Segment, Offset: at.Offset + f.it.size}) != nil {
		return f.readAgain(dst)
	}
	if f.checked || f.head.Matches(&f.Chunk) {
		return nil
	}
	return f.readAgain(dst)
}

// readAgain reads the chunk by itself, which finds out what is wrong with it.
func (f *Found) readAgain(dst []byte) error {
	c, err := f.reader.readFound(&f.it.key, &f.it.e, true, true)
	if err != nil {
		return err
	}
	f.Chunk = c
	f.Content = dst[:copy(dst, c.Content)]
	return nil
}
