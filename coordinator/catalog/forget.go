package catalog

import (
	"context"
	"errors"
	"time"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// Forget forgets a version, or all versions of a record and its checkpoint if number is 0; with
// undo it takes that back, except for the checkpoint. It returns the versions that it has changed,
// even with an error.
func (c *Catalog) Forget(ctx context.Context, nickname, record string, number uint64, undo bool) (changed []schemas.Version, err error) {
	var all []schemas.Version
	if number > 0 {
		v, err := c.Version(ctx, nickname, record, number)
		if err != nil {
			return nil, err
		}
		all = []schemas.Version{*v}
	} else {
		all, err = c.Versions(ctx, nickname, record, 0)
		if err != nil {
			return nil, err
		}
		hadCheckpoint := false
		if !undo {
			if hadCheckpoint, err = c.RemoveCheckpoint(ctx, nickname, record); err != nil {
				return nil, err
			}
		}
		if len(all) == 0 {
			_, err := c.Version(ctx, nickname, record, 0)
			if hadCheckpoint && schemas.CodeOf(err) == schemas.UnknownRecord {
				return nil, nil
			}
			return nil, err // which says what is unknown
		}
	}
	for i := range all {
		now, err := c.setForgotten(ctx, &all[i], undo)
		if err != nil {
			return changed, err
		}
		if now {
			changed = append(changed, all[i])
		}
	}
	// Even if nothing has changed: an earlier call may have failed before it came to this.
	return changed, c.refreshHead(ctx, nickname, record)
}

// setForgotten forgets a version, or with undo takes that back.
func (c *Catalog) setForgotten(ctx context.Context, old *schemas.Version, undo bool) (changed bool, err error) {
	key := versionKey(old.Nickname, old.Record, old.Number)
	var v schemas.Version
	_, err = c.catalogue.Edit(ctx, key, &v, func() { v = schemas.Version{} }, func() (bool, error) {
		switch {
		case v.Number == 0:
			return false, schemas.Explain(schemas.UnknownVersion, "version-collected", "the version {version} was collected", "version", old.ID)
		case v.Session != old.Session:
			return false, schemas.Explain(schemas.Unavailable, "version-renumbered", "the version {version} has just got another number: list the versions and ask again", "version", old.ID)
		}
		if changed = undo == (v.Forgotten > 0); changed {
			if v.Forgotten = 0; !undo {
				v.Forgotten = time.Now().UnixNano()
			}
		}
		return changed, nil
	})
	if err == nil && changed {
		c.QueueBackup(key)
	}
	return changed, err
}

// Doubt notes that something of a version, or of the newest one if number is 0, is lost. From then
// on nothing of it is taken to be held, and nothing of the record's newest version: it may share
// what is lost. So the next backup of the record asks the nodes for everything that it reuses.
func (c *Catalog) Doubt(ctx context.Context, nickname, record string, number uint64) error {
	v, err := c.Version(ctx, nickname, record, number)
	if err != nil {
		return err
	}
	h, err := c.Head(ctx, nickname, record)
	if err != nil {
		return err
	}
	numbers := []uint64{v.Number}
	if h.Latest != v.Number && h.Latest > 0 {
		numbers = append(numbers, h.Latest)
	}
	for _, n := range numbers {
		key := versionKey(nickname, record, n)
		var v schemas.Version
		written := false
		_, err := c.catalogue.Edit(ctx, key, &v, func() { v = schemas.Version{} }, func() (bool, error) {
			// A version that was collected, or has no basis, stays as it is.
			written = v.Session != "" && v.Root != (schemas.ChunkID{}) && v.Epoch != 0
			v.Epoch, v.Tolerates, v.Losses = 0, 0, 0
			return written, nil
		})
		if err != nil {
			return err
		}
		if written {
			c.QueueBackup(key)
		}
	}
	return nil
}

// forgottenVersion is a version that is to be deleted.
type forgottenVersion struct {
	key       string
	revision  uint64
	tombstone *schemas.Version
}

// tombstoneOf is what is left of a version that was collected.
func tombstoneOf(v *schemas.Version) *schemas.Version {
	return &schemas.Version{Nickname: v.Nickname, Record: v.Record, Number: v.Number,
		Created: v.Created, Session: v.Session}
}

// RemoveForgotten deletes the versions that were forgotten at least grace ago, and returns how
// many. One that is taken back meanwhile stays. removed counts even if an error is returned.
func (c *Catalog) RemoveForgotten(ctx context.Context, grace time.Duration) (removed int64, err error) {
	forgotten, err := c.forgottenBefore(ctx, time.Now().Add(-grace).UnixNano())
	if err != nil {
		return 0, err
	}
	type record struct{ nickname, name string }
	records := map[record]bool{}
	for _, v := range forgotten {
		err := c.catalogue.DeleteRevision(ctx, v.key, v.revision, v.tombstone)
		if errors.Is(err, kv.ErrConflict) {
			continue
		}
		if err != nil {
			return removed, err
		}
		removed++
		records[record{v.tombstone.Nickname, v.tombstone.Record}] = true
	}
	for r := range records {
		if err := c.refreshHead(ctx, r.nickname, r.name); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// forgottenBefore finds versions that were forgotten until limit, Unix ns. It refuses a
// catalogue that a rebuild has left unfinished: a version may be in it twice, under two
// numbers.
func (c *Catalog) forgottenBefore(ctx context.Context, limit int64) (all []forgottenVersion, err error) {
	sessions := map[string]bool{}
	err = c.catalogue.Scan(ctx, versionPrefix+">", func(e kv.Entry) error {
		var v schemas.Version
		if err := e.Decode(&v); err != nil {
			return err
		}
		if sessions[v.Session] && v.Session != "" {
			return schemas.Explain(schemas.NotNow, "version-twice", "{version} of \"{nickname}\" is in the catalogue twice, as a rebuild was broken off: rebuild the catalogue again", "version", v.ID, "nickname", v.Nickname)
		}
		sessions[v.Session] = true
		if v.Forgotten > 0 && v.Forgotten <= limit {
			all = append(all, forgottenVersion{e.Key, e.Revision, tombstoneOf(&v)})
		}
		return nil
	})
	return all, err
}
