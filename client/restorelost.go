package client

import (
	"context"
	"fmt"

	"servidor-backup/schemas"
)

// survivor walks the entries of a tree and goes on behind nodes that nobody can
// deliver whole: what they held is lost, and the rest is not.
type survivor struct {
	entries *entryIter
	failed  bool // nodes could not be had, which is why entries has stopped
	// lost is told what is lost: all paths from one on, and before the other;
	// "" is the end.
	lost func(from, to string, err error)
}

func (r *restorer) survive(entries *entryIter, p part) *survivor {
	s := &survivor{entries: entries, lost: func(from, to string, err error) {
		at := p.place(from)
		if at == "" { // it begins before what is asked for
			at = p.to
		}
		if to != "" {
			to = p.place(to)
		}
		if to == "" {
			r.fail(at, fmt.Errorf("lost with everything that comes after it: %w", err))
		} else {
			r.fail(at, fmt.Errorf("lost with everything that comes before %q: %w", to, err))
		}
	}}
	get := entries.get
	entries.get = func(ctx context.Context, ids []schemas.ChunkID) ([]treeNode, error) {
		nodes, err := get(ctx, ids)
		s.failed = err != nil && isDamage(err)
		return nodes, err
	}
	return s
}

// Next is [treeCursor.Next].
func (s *survivor) Next() (*Entry, bool, error) {
	for {
		e, ok, err := s.entries.Next()
		if err == nil || !s.failed || !s.pass(err) {
			return e, ok, err
		}
	}
}

// pass lets the cursor go on: at first with one node at a time, then behind the
// one that is lost. It reports false if that is the root.
func (s *survivor) pass(err error) bool {
	c := s.entries
	if len(c.stack) == 1 {
		return false
	}
	c.err, s.failed = nil, false
	if c.ahead > 1 {
		c.ahead = 1
		return true
	}
	c.ahead = readAhead
	top := c.stack[len(c.stack)-1]
	gone := top.children[0]
	top.children = top.children[1:]
	next := ""
	for _, f := range c.stack { // from the root down: the lowest one that has more is the next
		if len(f.children) > 0 {
			next = f.children[0].key
		}
	}
	s.lost(gone.key, next, err)
	return true
}
