package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// CheckOptions says what to check.
type CheckOptions struct {
	// ID is a version, or a record for all its versions; "" is all that the nickname
	// has.
	ID string
	// Read is which part of the data chunks is fetched and opened, from 0 to 1; of the
	// others it is only asked whether nodes hold them. Trees are always read. Which
	// chunks a part means is another choice each time.
	Read float64
	// Progress counts files as versions, and bytes as they come; nil is fine.
	Progress *Progress
	// Found hears of everything that cannot be brought back; path is empty if that is
	// the version as such.
	Found func(version, path string, err error)
}

// CheckResult is what a check looked at.
type CheckResult struct {
	Versions int64 // checked
	Trees    int64 // tree chunks read and opened
	Chunks   int64 // data chunks looked at
	Read     int64 // of them fetched and opened
	Bytes    int64 // their content, in the clear
	Damaged  int64 // things that Found heard of
}

// Check proves that versions can be brought back: with this machine's key, from the
// nodes as they are now. What several versions share is looked at once.
func (c *Client) Check(ctx context.Context, opt CheckOptions) (*CheckResult, error) {
	if opt.Progress == nil {
		opt.Progress = &Progress{}
	}
	ctx, cancel := c.watchServer(ctx)
	defer cancel(nil)
	ids, err := c.versionsOf(ctx, opt.ID)
	if err != nil {
		return nil, err
	}
	ck := &checker{CheckOptions: opt, salt: rand.Uint64(), seen: map[uint64]struct{}{}, lost: map[uint64]struct{}{}}
	opt.Progress.TotalFiles.Store(int64(len(ids)))
	opt.Progress.Counted.Store(true)
	for _, id := range ids {
		v, err := c.open(ctx, id)
		if err == nil {
			err = ck.version(ctx, v)
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if download.IsDamage(err) {
			ck.found(id, "", err)
			err = nil
		}
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", id, unreachable(err))
		}
		ck.out.Versions++
		opt.Progress.Files.Add(1)
	}
	return &ck.out, nil
}

// versionsOf are the ids of the versions that id means.
func (c *Client) versionsOf(ctx context.Context, id string) (ids []string, err error) {
	records := []schemas.Record{{Name: id}}
	if id == "" {
		if records, err = c.Records(ctx, ListOptions{}); err != nil {
			return nil, err
		}
	} else if _, number, err := schemas.ParseVersionID(id); err != nil || number > 0 {
		return []string{id}, err
	}
	for _, r := range records {
		err := c.list(ctx, r.Name, ListOptions{}, func(rep *schemas.ListReply) {
			for i := range rep.Versions {
				ids = append(ids, rep.Versions[i].ID)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// checker is one call of Check.
type checker struct {
	CheckOptions
	salt uint64
	out  CheckResult
	// What was looked at, and what of it is lost: chunks by the beginnings of their
	// ids, to be four times as many in as much memory.
	seen, lost map[uint64]struct{}
}

func (ck *checker) found(version, path string, err error) {
	ck.out.Damaged++
	if ck.Found != nil {
		ck.Found(version, path, err)
	}
}

func short(id schemas.ChunkID) uint64 { return binary.LittleEndian.Uint64(id[:]) }

// fresh are the ids that have not been looked at, which they are from now on.
func (ck *checker) fresh(ids []schemas.ChunkID) (batch []schemas.ChunkID) {
	for _, id := range ids {
		if _, seen := ck.seen[short(id)]; !seen {
			ck.seen[short(id)] = struct{}{}
			batch = append(batch, id)
		}
	}
	return batch
}

// treeBatch is how many tree chunks are fetched at a time.
const treeBatch = 32

// version checks one version by the clear edges of its tree, from the root down.
func (ck *checker) version(ctx context.Context, v *version) error {
	if v.plain != nil {
		return nil // it came with the answer, and was checked there
	}
	for todo := ck.fresh([]schemas.ChunkID{v.Root}); len(todo) > 0; {
		batch := slices.Clone(todo[max(0, len(todo)-treeBatch):])
		todo = todo[:len(todo)-len(batch)]
		err := ck.each(ctx, batch, func(batch []schemas.ChunkID) error {
			nodes, err := v.chunks.TreeNodes(ctx, batch)
			if err != nil {
				return err
			}
			ck.out.Trees += int64(len(batch))
			for _, n := range nodes {
				todo = append(todo, ck.fresh(n.Trees)...)
				if err := ck.chunks(ctx, v, ck.fresh(n.Data)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(ck.lost) == 0 {
		return nil
	}
	return ck.name(ctx, v)
}

// each tries a batch of ids together, and one by one if that fails because of one of them,
// which is then lost.
func (ck *checker) each(ctx context.Context, batch []schemas.ChunkID, try func([]schemas.ChunkID) error) error {
	err := try(batch)
	switch {
	case !download.IsDamage(err) || ctx.Err() != nil:
		return err
	case len(batch) == 1:
		ck.lost[short(batch[0])] = struct{}{}
		return nil
	}
	for _, id := range batch {
		if err := ck.each(ctx, []schemas.ChunkID{id}, try); err != nil {
			return err
		}
	}
	return nil
}

// readBatch is how many data chunks are fetched at a time.
const readBatch = 64

// chunks checks data chunks.
func (ck *checker) chunks(ctx context.Context, v *version, ids []schemas.ChunkID) error {
	ck.out.Chunks += int64(len(ids))
	var ask, read []schemas.ChunkID
	for _, id := range ids {
		if ck.chosen(id) {
			read = append(read, id)
		} else {
			ask = append(ask, id)
		}
	}
	for batch := range slices.Chunk(ask, replica.MaxIDs) {
		held, err := v.chunks.Recoverable(ctx, batch)
		if err != nil {
			return err
		}
		for i, id := range batch {
			if !held[i] {
				ck.lost[short(id)] = struct{}{}
			}
		}
	}
	for batch := range slices.Chunk(read, readBatch) {
		if err := ck.each(ctx, batch, func(batch []schemas.ChunkID) error { return ck.read(ctx, v, batch) }); err != nil {
			return err
		}
	}
	return nil
}

// chosen reports whether a chunk is one of those that are read.
func (ck *checker) chosen(id schemas.ChunkID) bool {
	x := (short(id) ^ ck.salt) * 0x9e3779b97f4a7c15 // ids are random; the salt makes another choice
	return ck.Read >= 1 || float64(x>>11)/(1<<53) < ck.Read
}

// read fetches and opens data chunks, which proves that they are what their ids say.
func (ck *checker) read(ctx context.Context, v *version, ids []schemas.ChunkID) error {
	var chunks, bytes atomic.Int64
	err := v.chunks.Fetch(ctx, ids, func(_ int, c *schemas.Chunk) error {
		plain, err := v.chunks.Open(c)
		if err != nil {
			return err
		}
		defer plain.Release()
		n := int64(len(plain.Bytes))
		chunks.Add(1)
		bytes.Add(n)
		ck.Progress.Bytes.Add(n)
		return nil
	})
	ck.out.Read += chunks.Load()
	ck.out.Bytes += bytes.Load()
	return err
}

// name finds the paths of a version whose content cannot be brought back.
func (ck *checker) name(ctx context.Context, v *version) error {
	entries := v.entries.Iterate(ctx, ".")
	for {
		e, more, err := entries.Next()
		switch {
		case download.IsDamage(err): // what comes behind is not told of
			ck.found(v.ID, "", err)
			return nil
		case err != nil || !more:
			return err
		}
		err = ck.content(ctx, v, e.Content, e.Size)
		if err == nil {
			err = ck.content(ctx, v, e.XattrContent, tree.MaxXattrs)
		}
		if download.IsDamage(err) {
			ck.found(v.ID, e.Path, err)
		} else if err != nil {
			return err
		}
	}
}

// content reports whether some of the content is lost.
func (ck *checker) content(ctx context.Context, v *version, content tree.Content, size int64) error {
	pieces := v.entries.Pieces(ctx, content, size)
	for {
		p, more, err := pieces.Next()
		if err != nil || !more {
			return err
		}
		if _, lost := ck.lost[short(p.ID)]; lost {
			return fmt.Errorf("its content, from byte %d on, cannot be brought back: %w", p.Off, seal.ErrDamaged)
		}
	}
}
