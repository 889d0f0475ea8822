// Package gc collects garbage: chunks that no version and no open session needs.
//
// A collection is mark and sweep over all storage nodes, in a generation of its own. Its
// phases follow each other, and each hands on what the next ones need:
//
//  1. The nodes enter the generation: from now on they note it for every chunk that a session
//     puts or asks for, which pins the chunk. Then sessions note it when they are opened.
//  2. Versions that were forgotten for longer than the grace period are deleted.
//  3. The open sessions are read: the oldest one's generation, and the versions they build on.
//  4. The versions are read. They and the sessions' versions are the roots. So are checkpoints:
//     what unfinished backups have sent.
//  5. Everything below the roots is marked at the nodes it is assigned to, checkpoints last.
//  6. The nodes sweep: of the chunks assigned to them, they forget those that are neither
//     marked nor pinned by an open session, that is, in the oldest session's generation or a
//     later one.
//
// Whatever goes wrong before the sweep, nothing is swept. A node that fails is left out and
// does not sweep; the others do.
//
// Marking also finds damage: versions that need a chunk of which too few parts are held. Nodes
// do not know which chunks are needed, so they cannot find it.
package gc

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/coordinator/catalog"
	"servidor-backup/coordinator/internal/session"
	"servidor-backup/schemas"
)

// Deps are what a collection works on.
type Deps struct {
	NC       *nats.Conn
	Catalog  *catalog.Catalog
	Sessions *session.Store
	// Map returns the node map as of now.
	Map func() *schemas.NodeMap
	// Log takes what an administrator should know.
	Log *slog.Logger
	// Grace is how long ago a version must have been forgotten to be deleted.
	Grace time.Duration
	// Hooks are for tests.
	Hooks Hooks
}

// Hooks let tests interfere with a collection; the zero value does nothing.
type Hooks struct {
	// Phase is called with the name of each phase before it begins.
	Phase func(name string)
	// SweepStall replaces the time for which a sweep may make no progress.
	SweepStall time.Duration
	// DamageLimit replaces the bound of what is remembered of damage.
	DamageLimit int
}

// Result is what a collection has done.
type Result = catalog.Collection

// Begin gives a new collection a generation that was never given before, and saves that it has
// begun. The caller holds the lease of collections, and calls [Run] with the result.
func Begin(ctx context.Context, c *catalog.Catalog) (Result, error) {
	generation, err := c.NextGeneration(ctx)
	if err != nil {
		return Result{}, err
	}
	var r Result
	r.Generation, r.Started, r.Step = generation, time.Now().UnixNano(), "beginning"
	return r, c.SaveCollection(ctx, &r)
}

// saveTime bounds how long the result of a collection may take to be saved.
const saveTime = 5 * time.Second

// Run runs a collection that has begun, and saves its progress and its result. ctx ends when
// the lease of collections is lost.
func Run(ctx context.Context, d Deps, begun Result) Result {
	p := &progress{ctx: ctx, deps: &d, result: begun}
	nodes, err := collect(ctx, &d, p)
	r := &p.result
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		r.Error = err.Error()
	}
	r.Skipped = nodes.skippedText()
	r.Ended, r.Step = time.Now().UnixNano(), ""
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	if err := d.Catalog.SaveCollection(ctx, r); err != nil {
		d.Log.Warn("the result of a collection could not be saved", "error", err)
	}
	return *r
}

// collect goes through the phases. It returns the nodes even with an error.
func collect(ctx context.Context, d *Deps, p *progress) (nodes *nodeSet, err error) {
	nodes = newNodeSet(d.NC, d.Map(), p.result.Generation)
	if err := p.enter("telling the nodes"); err != nil {
		return nodes, err
	}
	if err := nodes.enterGeneration(ctx); err != nil {
		return nodes, err
	}
	if err := d.Catalog.BeginGeneration(ctx, p.result.Generation); err != nil {
		return nodes, err
	}
	if err := p.enter("removing what was forgotten"); err != nil {
		return nodes, err
	}
	if p.result.Versions, err = d.Catalog.RemoveForgotten(ctx, d.Grace); err != nil {
		return nodes, err
	}
	if err := p.enter("reading the sessions"); err != nil {
		return nodes, err
	}
	oldest, building, err := readSessions(ctx, d.Sessions, p.result.Generation)
	if err != nil {
		return nodes, err
	}
	if err := p.enter("reading the versions"); err != nil {
		return nodes, err
	}
	// A commit makes the version first and then removes the checkpoint, so one of them is seen.
	checkpoints, err := d.Catalog.Checkpoints(ctx)
	if err != nil {
		return nodes, err
	}
	versions, backup, err := readVersions(ctx, d.Catalog, nodes)
	if err != nil {
		return nodes, err
	}
	if err := p.enter("marking"); err != nil {
		return nodes, err
	}
	m := newMarker(ctx, nodes, p, d.Hooks.DamageLimit)
	if err := m.markAll(append(versions, building...), backup); err != nil {
		return nodes, err
	}
	// Last, because nothing below the chunks of a checkpoint is marked with them: a tree chunk that
	// a version shares must have been descended before.
	for _, c := range checkpoints {
		if err := m.markCheckpoint(schemas.SealedVault(c.Nickname), c.Root); err != nil {
			return nodes, fmt.Errorf("the checkpoint of %s of %s: %w", c.Record, c.Nickname, err)
		}
	}
	if err := p.enter("sweeping"); err != nil {
		return nodes, err
	}
	if now := d.Map().Epoch; now != nodes.all.Epoch {
		return nodes, schemas.Explain(schemas.NotNow, "changed-while-marking", "the nodes or policies changed while chunks were being marked: collect again")
	}
	s := &sweep{nodes: nodes, oldest: oldest, stall: d.Hooks.SweepStall}
	err = s.run(ctx)
	p.result.Chunks, p.result.Bytes, p.result.Freed = s.chunks, s.bytes, s.freed
	return nodes, err
}

// progress is the result so far, and saves it.
type progress struct {
	ctx    context.Context
	deps   *Deps
	result Result
	saved  time.Time
}

// enter notes and saves that a phase begins, unless the collection has lost its lease.
func (p *progress) enter(phase string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	p.result.Step = phase
	if p.deps.Hooks.Phase != nil {
		p.deps.Hooks.Phase(phase)
	}
	return p.deps.Catalog.SaveCollection(p.ctx, &p.result)
}

// saveEvery is how often the progress of a phase is saved.
const saveEvery = time.Second

// update saves the result so far, from time to time.
func (p *progress) update() {
	if time.Since(p.saved) > saveEvery {
		p.saved = time.Now()
		_ = p.deps.Catalog.SaveCollection(p.ctx, &p.result)
	}
}

// root is a chunk at which marking begins.
type root struct {
	vault    schemas.VaultID
	id       schemas.ChunkID
	kind     schemas.Kind
	nickname string
	version  string // "" for a version that only a session builds on
}

// readSessions returns the generation of the oldest open session, at most the given one, and
// the versions that open sessions build on. It comes after forgotten versions were removed: a
// session that it does not see was entered later, and has checked then that its parent was not
// removed.
func readSessions(ctx context.Context, sessions *session.Store, generation uint32) (oldest uint32, roots []root, err error) {
	oldest = generation
	err = sessions.Each(ctx, func(s *session.Session) error {
		if s.Committed > 0 {
			return nil // its version is a root
		}
		oldest = min(oldest, s.Generation)
		if s.Parent > 0 {
			roots = append(roots, root{vault: schemas.SealedVault(s.Nickname), id: s.ParentRoot, kind: schemas.Tree})
		}
		return nil
	})
	return oldest, roots, err
}

// readVersions returns all versions, newest first, so that the newest are named if very many
// have lost chunks; and the chunks of the catalogue's current backup.
func readVersions(ctx context.Context, c *catalog.Catalog, nodes *nodeSet) (roots []root, backup []schemas.ChunkID, err error) {
	backup, err = c.Snapshot(ctx, nodes.all, nodes.takingPart(), func(v *schemas.Version) {
		roots = append(roots, root{v.Vault, v.Root, v.RootKind, v.Nickname, v.ID})
	})
	slices.Reverse(roots)
	return roots, backup, err
}

// Summary says in a sentence how a collection went.
func Summary(r *Result) string {
	if r.Error != "" {
		return fmt.Sprintf("collection %d: it failed: %s", r.Generation, r.Error)
	}
	return fmt.Sprintf("collection %d: %d chunks were swept, %d bytes of them came back", r.Generation, r.Chunks, r.Freed)
}
