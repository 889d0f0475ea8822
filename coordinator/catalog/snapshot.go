package catalog

import (
	"context"
	"slices"
	"strings"
	"sync"

	"servidor-backup/schemas"
)

// Snapshot calls visit with every version for a collection, oldest write first, and returns
// the chunks of the current backup. A version that is changed meanwhile may be visited twice.
//
// It refuses ([schemas.NotNow]) a catalogue that knows less than the backup on holders, the
// nodes of the map that are asked: the catalogue was lost, and the versions that it does not
// know any more may be all that there are.
func (c *Catalog) Snapshot(ctx context.Context, nodes *schemas.NodeMap, holders []schemas.NodeID, visit func(*schemas.Version)) (current []schemas.ChunkID, err error) {
	backup, err := c.backupIDs(ctx, holders) // before the catalogue, which must know all of it
	if err != nil {
		return nil, err
	}
	unreadable := ""
	current, known, err := c.knowledge(ctx, func(e *schemas.CatalogueEntry, v *schemas.Version) {
		switch {
		case v != nil && !e.Deleted:
			visit(v)
		case v == nil && strings.HasPrefix(e.Key, versionPrefix) && len(e.Value) > 0:
			unreadable = e.Key
		}
	})
	if err == nil && unreadable != "" {
		err = schemas.Errorf(schemas.Internal, "the version %s cannot be read", unreadable)
	}
	if err != nil {
		return nil, err
	}
	return current, c.checkBackup(ctx, nodes, without(backup, current), known)
}

// knowledge returns what the catalogue says, and the chunks of its current backup. It calls
// visit with every entry; v is nil if that is no version, or one that cannot be read.
func (c *Catalog) knowledge(ctx context.Context, visit func(e *schemas.CatalogueEntry, v *schemas.Version)) (current []schemas.ChunkID, known knowledge, err error) {
	known = knowledge{revisions: map[string]uint64{}, sessions: map[string]bool{}}
	err = c.Entries(ctx, func(e *schemas.CatalogueEntry) error {
		chunk, err := BackupChunk(e)
		if err != nil {
			return err
		}
		current, known.revisions[e.Key] = append(current, chunk.ID), e.Revision
		v := new(schemas.Version)
		if !strings.HasPrefix(e.Key, versionPrefix) || len(e.Value) == 0 || schemas.Unmarshal(e.Value, v) != nil {
			v = nil
		} else {
			known.sessions[v.Session] = true
		}
		visit(e, v)
		return nil
	})
	return current, known, err
}

// without returns the ids that are not among others. It reuses ids.
func without(ids, others []schemas.ChunkID) []schemas.ChunkID {
	set := make(map[schemas.ChunkID]struct{}, len(others))
	for _, id := range others {
		set[id] = struct{}{}
	}
	return slices.DeleteFunc(ids, func(id schemas.ChunkID) bool {
		_, in := set[id]
		return in
	})
}

// checkBackup refuses if one of the backup chunks says something that is not known.
func (c *Catalog) checkBackup(ctx context.Context, nodes *schemas.NodeMap, ids []schemas.ChunkID, known knowledge) error {
	var mu sync.Mutex
	unknown := ""
	err := c.readBackup(ctx, nodes, ids, func(e *schemas.CatalogueEntry) {
		mu.Lock()
		defer mu.Unlock()
		if known.lacks(e) {
			unknown = e.Key
		}
	})
	if err == nil && unknown != "" {
		err = schemas.Errorf(schemas.NotNow, "the storage nodes have the backup of a catalogue that knows more than this one (%s): rebuild the catalogue first", unknown)
	}
	return err
}

// knowledge is what a catalogue says: the revisions of its keys, and the sessions of its
// versions, collected ones too.
type knowledge struct {
	revisions map[string]uint64
	sessions  map[string]bool
}

// lacks reports whether e says something that is not known. Versions are compared by their
// sessions: a catalogue that was rebuilt may have given a key to another version.
func (k *knowledge) lacks(e *schemas.CatalogueEntry) bool {
	revision, known := k.revisions[e.Key]
	if e.Key == systemKey {
		return !known // a catalogue that was merged keeps its own id
	}
	if known && revision < e.Revision {
		return true
	}
	if !strings.HasPrefix(e.Key, versionPrefix) {
		return !known
	}
	var v schemas.Version
	if err := schemas.Unmarshal(e.Value, &v); err != nil || v.Session == "" {
		return !known && !e.Deleted // a tombstone without a session: the version has another key now
	}
	return !k.sessions[v.Session]
}
