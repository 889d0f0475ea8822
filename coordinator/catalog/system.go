package catalog

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/nats-io/nuid"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// systemKey is the key of System. It is backed up like versions, so that a catalogue that is
// rebuilt is the same one.
const systemKey = "system"

// System identifies a catalogue.
type System struct {
	ID    string `msgpack:"id"`
	Begun int64  `msgpack:"begun"` // Unix ns
	// Passed is set when somebody has said to begin anew. Copies with a revision up to it, or
	// from before the bucket was made, are of a catalogue that this one does without.
	Passed uint64 `msgpack:"passed,omitempty"`
}

// SystemID is the id of the catalogue; "" before it is known to be begun.
func (c *Catalog) SystemID() string {
	if s := c.system.Load(); s != nil {
		return s.ID
	}
	return ""
}

// readSystem reads what identifies the catalogue; a zero System before it is begun.
func (c *Catalog) readSystem(ctx context.Context) (s System, err error) {
	_, err = c.catalogue.Get(ctx, systemKey, &s)
	if errors.Is(err, kv.ErrNotFound) {
		return System{}, nil
	}
	if err == nil {
		c.system.Store(&s)
	}
	return s, err
}

// IsBegun reports whether the catalogue has an id or, if an early release has made it, a vault.
func (c *Catalog) IsBegun(ctx context.Context) (bool, error) {
	s, err := c.readSystem(ctx)
	if err != nil || s.ID != "" {
		return err == nil, err
	}
	err = c.catalogue.Scan(ctx, vaultPrefix+">", func(kv.Entry) error { return errFound })
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

var errFound = errors.New("found")

// Begin gives the catalogue an id, unless it has one. Nodes must have been asked before whether
// they have copies of one that is lost; see [Catalog.Missing].
func (c *Catalog) Begin(ctx context.Context) error {
	return c.editSystem(ctx, func(*System) {})
}

// BeginAnew makes the catalogue do without what only the copies in missing know.
func (c *Catalog) BeginAnew(ctx context.Context, missing *Missing) error {
	if missing.behind > 0 {
		if err := c.continueNumbers(ctx, missing.behind); err != nil {
			return err
		}
	}
	return c.editSystem(ctx, func(s *System) { s.Passed = max(s.Passed, missing.highest, 1) })
}

func (c *Catalog) editSystem(ctx context.Context, change func(*System)) error {
	var s System
	written := false
	_, err := c.catalogue.Edit(ctx, systemKey, &s, func() { s = System{} }, func() (bool, error) {
		before := s
		if s.ID == "" {
			s = System{ID: nuid.Next(), Begun: time.Now().UnixNano()}
		}
		change(&s)
		written = s != before
		return written, nil
	})
	if err != nil {
		return err
	}
	if written {
		c.QueueBackup(systemKey)
	}
	c.system.Store(&s)
	return nil
}

// Missing is what nodes know and a catalogue does not.
type Missing struct {
	Key     string // one of the keys; "" if nothing is missing
	Copies  bool   // the nodes have copies of a catalogue, of this one or another
	highest uint64 // revision of what is missing
	behind  uint64 // by how much the catalogue's revisions are behind those of the copies
}

// Missing compares the catalogue with the copies on holders, nodes of the map. It fails if one
// of them does not respond.
func (c *Catalog) Missing(ctx context.Context, nodes *schemas.NodeMap, holders []schemas.NodeID) (*Missing, error) {
	found := new(Missing)
	copies, err := c.backupIDs(ctx, holders) // before the catalogue, which must know all of it
	if err != nil || len(copies) == 0 {
		return found, err
	}
	found.Copies = true
	system, err := c.readSystem(ctx)
	if err != nil {
		return nil, err
	}
	base, err := c.revisionBase(ctx)
	if err != nil {
		return nil, err
	}
	began := map[*kv.Bucket]uint64{c.catalogue: base + c.catalogue.FirstRevision(), c.policies: base + c.policies.FirstRevision()}
	reached := maps.Clone(began)
	current, known, err := c.knowledge(ctx, func(e *schemas.CatalogueEntry, _ *schemas.Version) {
		b := c.bucketOf(e.Key)
		reached[b] = max(reached[b], e.Revision)
	})
	if err != nil {
		return nil, err
	}
	return found, c.readBackup(ctx, nodes, without(copies, current), func(e *schemas.CatalogueEntry) {
		c.missing.Lock()
		defer c.missing.Unlock()
		b := c.bucketOf(e.Key)
		passed := system.Passed > 0 && (e.Revision <= system.Passed || e.Revision < began[b])
		// What cannot be understood, no rebuild could bring back.
		if passed || !known.lacks(e) || newMerge().add(e) != nil {
			return
		}
		found.Key = e.Key
		found.highest = max(found.highest, e.Revision)
		found.behind = max(found.behind, e.Revision-min(e.Revision, reached[b]))
	})
}
