package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// CheckOptions say what to check, and how thoroughly.
type CheckOptions struct {
	// ID is NAME@NUMBER for one version, or NAME for all versions of a record; "" means all
	// records of the vault.
	ID string
	// Read is the share of the data chunks that are fetched and opened, from 0 to 1. For the
	// others, nodes are only asked whether they hold them. Tree chunks are always read.
	// Every check chooses other chunks.
	Read float64
	// Progress, if not nil, counts versions as files, and bytes as they arrive.
	Progress *Progress
	// Incomplete, if not nil, is called with every version that was saved incomplete: what
	// could not be read then is not in it, and cannot be checked.
	Incomplete func(version string)
	// Found, if not nil, is called for everything that cannot be restored. path is empty if
	// that is the whole version.
	Found func(version, path string, err error)
}

// CheckResult says what a check has covered.
type CheckResult struct {
	Versions int64 // versions checked
	Trees    int64 // tree chunks fetched and opened
	Chunks   int64 // data chunks checked
	Read     int64 // data chunks fetched and opened
	Bytes    int64 // content of the data chunks that were opened
	Damaged  int64 // calls of Found
	// Incomplete is how many of the versions were saved incomplete.
	Incomplete int64
	// Noted: nodes and coordinators have taken note of everything that was found, so that the
	// next backup of each record sends again what it has of it, without being told to recheck.
	Noted bool
}

// Check proves that versions can be restored with this machine's key from the nodes as they are
// now. What several versions share is checked once. Nodes take note of parts that do not open, and
// coordinators of versions that miss something; nothing else is changed.
func (c *Client) Check(ctx context.Context, opt CheckOptions) (*CheckResult, error) {
	if opt.Progress == nil {
		opt.Progress = &Progress{}
	}
	ctx, cancel := c.ctl.watchServer(ctx)
	defer cancel(nil)
	ids, err := c.versionIDs(ctx, opt.ID)
	if err != nil {
		return nil, err
	}
	ck := &checker{CheckOptions: opt, salt: rand.Uint64(), seen: map[uint64]struct{}{}, lost: map[uint64]struct{}{}}
	opt.Progress.TotalFiles.Store(int64(len(ids)))
	opt.Progress.Counted.Store(true)
	for _, id := range ids {
		before := ck.out.Damaged
		v, err := openVersion(ctx, c, id)
		if err == nil {
			id = v.ID
			ck.noteIncomplete(&v.Version)
			err = ck.checkVersion(ctx, v)
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		var unreadable *labelError
		if download.IsDamage(err) || errors.As(err, &unreadable) {
			ck.report(id, "", err)
			err = nil
		}
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", id, explainUnresponsive(err))
		}
		if ck.out.Damaged > before {
			noted := c.doubt(ctx, id) == nil && (v == nil || v.chunks == nil || v.chunks.Unnoted() == 0)
			ck.out.Noted = noted && (ck.out.Noted || before == 0)
		}
		ck.out.Versions++
		opt.Progress.Files.Add(1)
	}
	return &ck.out, nil
}

// doubt tells the coordinators that a version misses something.
func (c *Client) doubt(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, doubtTime)
	defer cancel()
	return c.ctl.request(ctx, schemas.SubjectDoubt, &schemas.DoubtRequest{Nickname: c.opt.Nickname, ID: id}, &schemas.DoubtReply{})
}

// doubtTime bounds the time in which a coordinator takes note of a version.
const doubtTime = 5 * time.Second

// versionIDs returns the ids of the versions that id means in [CheckOptions].
func (c *Client) versionIDs(ctx context.Context, id string) (ids []string, err error) {
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
	// The chunks that were checked, and those of them that are lost. They are known by the
	// first eight bytes of their ids, which takes a quarter of the memory.
	seen, lost map[uint64]struct{}
}

// noteIncomplete counts and reports a version that was saved incomplete.
func (ck *checker) noteIncomplete(v *schemas.Version) {
	if !v.Partial {
		return
	}
	ck.out.Incomplete++
	if ck.CheckOptions.Incomplete != nil {
		ck.CheckOptions.Incomplete(v.ID)
	}
}

// report counts and reports what cannot be restored.
func (ck *checker) report(version, path string, err error) {
	ck.out.Damaged++
	if ck.Found != nil {
		ck.Found(version, path, err)
	}
}

// short is the first eight bytes of an id.
func short(id schemas.ChunkID) uint64 { return binary.LittleEndian.Uint64(id[:]) }

// unseen returns the ids that it has not returned before.
func (ck *checker) unseen(ids []schemas.ChunkID) (batch []schemas.ChunkID) {
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

// checkVersion checks one version by the clear edges of its tree, from the root down.
func (ck *checker) checkVersion(ctx context.Context, v *version) error {
	if v.plain != nil {
		return nil // openVersion has checked it
	}
	for todo := ck.unseen([]schemas.ChunkID{v.Root}); len(todo) > 0; {
		batch := slices.Clone(todo[max(0, len(todo)-treeBatch):])
		todo = todo[:len(todo)-len(batch)]
		err := ck.each(ctx, batch, func(batch []schemas.ChunkID) error {
			nodes, err := v.chunks.TreeNodes(ctx, batch)
			if err != nil {
				return err
			}
			ck.out.Trees += int64(len(batch))
			for _, n := range nodes {
				todo = append(todo, ck.unseen(n.Trees)...)
				if err := ck.checkData(ctx, v, ck.unseen(n.Data)); err != nil {
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
	return ck.reportPaths(ctx, v)
}

// each calls try with a batch of ids. If that fails because a chunk is damaged, it calls try with
// each id alone, and marks as lost the ids for which that fails.
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

// checkData checks data chunks.
func (ck *checker) checkData(ctx context.Context, v *version, ids []schemas.ChunkID) error {
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
		if err != nil && !download.IsDamage(err) {
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

// chosen reports whether a data chunk is one of those to be fetched and opened.
func (ck *checker) chosen(id schemas.ChunkID) bool {
	x := (short(id) ^ ck.salt) * 0x9e3779b97f4a7c15 // ids are random; the salt makes another choice each time
	return ck.Read >= 1 || float64(x>>11)/(1<<53) < ck.Read
}

// read fetches and opens data chunks, which proves that they match their ids.
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

// reportPaths reports the paths of a version whose content cannot be restored.
func (ck *checker) reportPaths(ctx context.Context, v *version) error {
	entries := v.entries.Iterate(ctx, ".")
	for {
		e, more, err := entries.Next()
		switch {
		case download.IsDamage(err): // what follows is not reported
			ck.report(v.ID, "", err)
			return nil
		case err != nil || !more:
			return err
		}
		err = ck.checkContent(ctx, v, e.Content, e.Size)
		if err == nil {
			err = ck.checkContent(ctx, v, e.XattrContent, tree.MaxXattrs)
		}
		if download.IsDamage(err) {
			ck.report(v.ID, e.Path, err)
		} else if err != nil {
			return err
		}
	}
}

// checkContent returns an error if a chunk of the content is lost.
func (ck *checker) checkContent(ctx context.Context, v *version, content tree.Content, size int64) error {
	pieces := v.entries.Pieces(ctx, content, size)
	for {
		p, more, err := pieces.Next()
		if err != nil || !more {
			return err
		}
		if _, lost := ck.lost[short(p.ID)]; lost {
			return fmt.Errorf("its content, from byte %d on, cannot be restored: %w", p.Off, seal.ErrDamaged)
		}
	}
}
