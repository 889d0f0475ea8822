package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/kv"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

const collectLease = "collect"

// collect answers backup.gc.
func (c *Coordinator) collect(ctx context.Context, req *schemas.CollectRequest) (any, error) {
	held := false // by a collection, which is as good, or by somebody else
	if req.Start {
		grace := c.opt.ForgetGrace
		if req.Grace != nil {
			grace = time.Duration(*req.Grace)
		}
		err := c.startCollection(grace, func(*collected) bool { return true })
		if held = errors.Is(err, errHeld); err != nil && !held {
			return nil, err
		}
	}
	newest, err := c.state.collection(ctx)
	if err == nil && held && (newest.Started == 0 || newest.Ended > 0) {
		err = errHeld
	}
	if err == nil && !req.Start && newest.Started > 0 && newest.Ended == 0 {
		// Whoever waits for its end would wait until somebody notices.
		newest, err = c.buryCollection(ctx, newest)
	}
	if err != nil {
		return nil, err
	}
	return &schemas.CollectReply{Reply: schemas.OK, Collection: newest.Collection}, nil
}

// startCollection begins a collection in the background, if after the newest one it is
// still wanted.
func (c *Coordinator) startCollection(grace time.Duration, wanted func(newest *collected) bool) error {
	held, release, err := c.leases.takeSoon(c.run, collectLease)
	if err != nil {
		return err
	}
	newest, err := c.state.collection(held)
	if err == nil && !wanted(newest) {
		err = errHeld
	}
	var g *collection
	if err == nil {
		g, err = c.newCollection(held, grace)
	}
	if err != nil {
		release()
		return err
	}
	c.loops.Go(func() {
		defer release()
		g.run()
	})
	return nil
}

// collectByItself starts collections from time to time, and says of those whose
// coordinator has died that they are over.
func (c *Coordinator) collectByItself() {
	every := c.opt.CollectEvery
	// A system that runs only for a moment has other things to do.
	wait, started := every/100+rand.N(every/100+1), time.Now()
	for {
		select {
		case <-c.run.Done():
			return
		case <-time.After(wait):
		}
		wait = every/50 + rand.N(every/50+1)
		newest, err := c.state.collection(c.run)
		if err != nil {
			continue
		}
		last := time.Unix(0, newest.Started)
		if newest.Started == 0 {
			last = started
		}
		if newest.Started > 0 && newest.Ended == 0 {
			_, _ = c.buryCollection(c.run, newest) // the next look finds it again
		}
		if time.Since(last) < every {
			continue
		}
		// Another coordinator may have seen the same, and have been faster.
		still := func(now *collected) bool { return now.Generation == newest.Generation }
		if err := c.startCollection(c.opt.ForgetGrace, still); err != nil && !errors.Is(err, errHeld) && c.run.Err() == nil {
			c.opt.Log.Warn("a collection could not begin", "error", err)
		}
	}
}

// buryCollection notes the end of one that nobody runs any more. It returns the newest
// as it is then.
func (c *Coordinator) buryCollection(ctx context.Context, newest *collected) (*collected, error) {
	held, release, err := c.leases.take(ctx, collectLease)
	if err != nil {
		return newest, nil // somebody runs it, or may still
	}
	defer release()
	if newest, err = c.state.collection(held); err != nil || newest.Ended > 0 {
		return newest, err
	}
	newest.Ended, newest.Error = time.Now().UnixNano(), "the coordinator that ran it went away"
	return newest, c.state.save(held, newest)
}

// collection is one that runs here.
type collection struct {
	c       *Coordinator
	ctx     context.Context // until the lease is lost
	grace   time.Duration
	nodes   *schemas.NodeMap
	homes   *placement.Placement
	holders *replica.Reader
	before  uint32
	roots   []root
	current []schemas.ChunkID // the catalogue's copies
	step    func(name string) // is told before each step, by tests; or nil
	stall   time.Duration     // sweepStall, but for tests
	taints  taints

	mu      sync.Mutex
	res     collected
	members map[schemas.NodeID]bool // who knows the generation; false once it has failed
	skipped map[schemas.NodeID]string
	strays  map[vaultTree]struct{} // trees that nobody at home could mark, and that were descended
	saved   time.Time
}

// root is where marking begins.
type root struct {
	vault    schemas.VaultID
	id       schemas.ChunkID
	kind     schemas.Kind
	nickname string
	version  string // "" for what only a session builds on
}

// newCollection gives it a number that was never given before.
func (c *Coordinator) newCollection(held context.Context, grace time.Duration) (*collection, error) {
	g := &collection{c: c, ctx: held, grace: grace, stall: sweepStall,
		members: map[schemas.NodeID]bool{}, skipped: map[schemas.NodeID]string{}, strays: map[vaultTree]struct{}{},
		taints: taints{of: map[vaultTree]*taint{}, limit: maxTaints}}
	generation, err := c.state.next(held)
	if err != nil {
		return nil, err
	}
	g.res.Generation, g.res.Started, g.res.Step = generation, time.Now().UnixNano(), "beginning"
	return g, c.state.save(held, &g.res)
}

// run goes through the steps of docs/keeping.md, in that order. Whatever goes wrong
// before the sweep, nothing is swept.
func (g *collection) run() {
	err := g.steps()
	if cause := context.Cause(g.ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		g.res.Error = err.Error()
	}
	for _, id := range g.sortedSkipped() {
		g.res.Skipped = strings.TrimPrefix(g.res.Skipped+"; "+g.skipped[id], "; ")
	}
	g.res.Ended, g.res.Step = time.Now().UnixNano(), ""
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), 5*time.Second)
	defer cancel()
	if err := g.c.state.save(ctx, &g.res); err != nil {
		g.c.opt.Log.Warn("how a collection went could not be written", "error", err)
	}
	g.c.look() // for copies of what was removed
	text := fmt.Sprintf("%d chunks were swept, %d bytes of them came back", g.res.Chunks, g.res.Freed)
	if g.res.Error != "" {
		text = "it failed: " + g.res.Error
	}
	g.c.event(schemas.EventCollected, fmt.Sprint(g.res.Generation), "", "collection %d: %s", g.res.Generation, text)
}

func (g *collection) steps() error {
	steps := []struct {
		name string
		do   func() error
	}{
		{"telling the nodes", g.tellNodes},
		{"removing what was forgotten", g.removeForgotten},
		{"reading the sessions", g.readSessions},
		{"reading the versions", g.readRoots},
		{"marking", g.mark},
		{"sweeping", g.sweep},
	}
	for _, s := range steps {
		if err := g.ctx.Err(); err != nil {
			return err
		}
		g.res.Step = s.name
		if g.step != nil {
			g.step(s.name)
		}
		if err := g.c.state.save(g.ctx, &g.res); err != nil {
			return err
		}
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

// tellNodes makes all nodes be in the generation, and then the sessions.
func (g *collection) tellNodes() error {
	g.nodes = g.c.members.nodeMap()
	g.homes, g.holders = placement.NewAssigned(g.nodes), replica.NewReader(g.c.nc, g.nodes)
	var all sync.WaitGroup
	for i := range g.nodes.Nodes {
		n := &g.nodes.Nodes[i]
		if n.State == schemas.Gone {
			continue
		}
		if !n.State.Reachable() {
			g.skip(n.ID, fmt.Errorf("it is %s", n.State))
			continue
		}
		all.Go(func() {
			req := &schemas.GenerationRequest{Generation: g.res.Generation}
			err := bus.Request(g.ctx, g.c.nc, schemas.GenerationSubject(n.ID), req, &schemas.GenerationReply{})
			g.mu.Lock()
			g.members[n.ID] = err == nil
			g.mu.Unlock()
			if err != nil {
				g.skip(n.ID, err)
			}
		})
	}
	all.Wait()
	if !slices.Contains(slices.Collect(maps.Values(g.members)), true) {
		return schemas.Errorf(schemas.NoNode, "no storage node takes part")
	}
	return g.c.state.begin(g.ctx, g.res.Generation)
}

// skip leaves a node out from now on: it is not asked, and does not sweep.
func (g *collection) skip(id schemas.NodeID, why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members[id] = false
	if g.skipped[id] == "" {
		name := string(id)
		if n := g.nodes.Find(id); n != nil {
			name = n.Name
		}
		g.skipped[id] = fmt.Sprintf("%s: %v", name, why)
	}
}

func (g *collection) takesPart(id schemas.NodeID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members[id]
}

func (g *collection) sortedSkipped() (ids []schemas.NodeID) {
	for id := range g.skipped {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// removeForgotten deletes the versions that were forgotten for longer than the grace
// time. One that is taken back meanwhile stays.
func (g *collection) removeForgotten() error {
	type old struct {
		key      string
		revision uint64
		mark     *schemas.Version
	}
	var over []old
	sessions := map[string]bool{}
	limit := time.Now().Add(-g.grace).UnixNano()
	r := g.c.records
	err := r.kv.Scan(g.ctx, versionPrefix+">", func(e kv.Entry) error {
		var v schemas.Version
		if err := e.Decode(&v); err != nil {
			return err
		}
		if sessions[v.Session] && v.Session != "" {
			return schemas.Errorf(schemas.NotNow, "%s of %q is in the catalogue twice: finish what brought it there, with \"backup rebuild-catalogue\"", v.ID, v.Nickname)
		}
		sessions[v.Session] = true
		if v.Forgotten > 0 && v.Forgotten <= limit {
			over = append(over, old{e.Key, e.Revision, mark(&v)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	heads := map[[2]string]bool{}
	for _, v := range over {
		err := r.kv.DeleteAt(g.ctx, v.key, v.revision, v.mark)
		if errors.Is(err, kv.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		g.res.Versions++
		heads[[2]string{v.mark.Nickname, v.mark.Record}] = true
	}
	for h := range heads {
		if err := r.refresh(g.ctx, h[0], h[1]); err != nil {
			return err
		}
	}
	return nil
}

// readSessions finds out how old the oldest open session is, and what they build on.
// It comes after the removal: a session that it does not see was entered later, and
// made sure then that its parent was not removed.
func (g *collection) readSessions() error {
	g.before = g.res.Generation
	return g.c.sessions.Scan(g.ctx, ">", func(e kv.Entry) error {
		var s session
		if err := e.Decode(&s); err != nil {
			return err
		}
		if s.Committed > 0 {
			return nil // what it needs is its version's
		}
		g.before = min(g.before, s.Generation)
		if s.Parent > 0 {
			g.roots = append(g.roots, root{vault: schemas.SealedVault(s.Nickname), id: s.ParentRoot, kind: schemas.Tree})
		}
		return nil
	})
}

// readRoots reads all versions, the newest first, so that of many that miss chunks those
// are told of; and which of the catalogue's copies are current.
func (g *collection) readRoots() error {
	copies, err := g.c.copiesAt(g.ctx, g.takers())
	if err != nil {
		return err
	}
	known := whatIsKnown{revisions: map[string]uint64{}, sessions: map[string]bool{}}
	err = g.c.eachEntry(g.ctx, func(e *schemas.CatalogueEntry) error {
		chunk, err := copyOf(e)
		if err != nil {
			return err
		}
		g.current, known.revisions[e.Key] = append(g.current, chunk.ID), e.Revision
		if !strings.HasPrefix(e.Key, versionPrefix) || len(e.Value) == 0 {
			return nil
		}
		var v schemas.Version
		if err := schemas.Unmarshal(e.Value, &v); err != nil {
			return fmt.Errorf("the version %s: %w", e.Key, err)
		}
		known.sessions[v.Session] = true
		if e.Deleted {
			return nil
		}
		g.roots = append(g.roots, root{v.Vault, v.Root, v.RootKind, v.Nickname, v.ID})
		return nil
	})
	if err != nil {
		return err
	}
	slices.Reverse(g.roots)
	return g.checkCatalogue(copies, known)
}

// whatIsKnown is what a catalogue says: the revisions of its keys, and whose versions there
// are or were.
type whatIsKnown struct {
	revisions map[string]uint64
	sessions  map[string]bool
}

// lacks reports whether e says something that is not known. A key that was made again in a
// catalogue that knew nothing of e stands for another version.
func (k *whatIsKnown) lacks(e *schemas.CatalogueEntry) bool {
	revision, is := k.revisions[e.Key]
	if is && revision < e.Revision {
		return true
	}
	if !strings.HasPrefix(e.Key, versionPrefix) {
		return !is
	}
	var v schemas.Version
	if err := schemas.Unmarshal(e.Value, &v); err != nil || v.Session == "" {
		return !is && !e.Deleted // such a mark was left by one that has another key now
	}
	return !k.sessions[v.Session]
}

// checkCatalogue refuses to collect for a catalogue that knows less than the nodes have
// copies of: it was lost, and what it has forgotten may be all that there is.
func (g *collection) checkCatalogue(copies []schemas.ChunkID, known whatIsKnown) error {
	current := make(map[schemas.ChunkID]struct{}, len(g.current))
	for _, id := range g.current {
		current[id] = struct{}{}
	}
	copies = slices.DeleteFunc(copies, func(id schemas.ChunkID) bool {
		_, is := current[id]
		return is
	})
	var mu sync.Mutex
	lost := ""
	err := g.c.readCopies(g.ctx, g.nodes, copies, func(e *schemas.CatalogueEntry) {
		mu.Lock()
		defer mu.Unlock()
		if known.lacks(e) {
			lost = e.Key
		}
	})
	if err == nil && lost != "" {
		err = schemas.Errorf(schemas.NotNow, "the storage nodes have copies of a catalogue that knows more than this one (%s): bring it back with \"backup rebuild-catalogue\"", lost)
	}
	return err
}

// takers are the nodes that take part.
func (g *collection) takers() (ids []schemas.NodeID) {
	for i := range g.nodes.Nodes {
		if id := g.nodes.Nodes[i].ID; g.takesPart(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// sweepPoll is how often nodes are asked how their sweep goes; sweepSilence for how
// long they may leave that unanswered, and sweepStall for how long nothing may come of it.
const (
	sweepPoll    = 200 * time.Millisecond
	sweepSilence = time.Minute
	sweepStall   = 10 * time.Minute
)

// sweep lets the nodes forget what was not marked.
func (g *collection) sweep() error {
	if now := g.c.members.nodeMap().Epoch; now != g.nodes.Epoch {
		return schemas.Errorf(schemas.NotNow, "the nodes or policies changed while chunks were being marked: collect again")
	}
	var all sync.WaitGroup
	for i := range g.nodes.Nodes {
		// What a node that is drained holds is at home elsewhere.
		if n := &g.nodes.Nodes[i]; n.State == schemas.Up && g.takesPart(n.ID) {
			all.Go(func() {
				if err := g.sweepAt(n.ID); err != nil {
					g.skip(n.ID, err)
				}
			})
		}
	}
	all.Wait()
	return g.ctx.Err()
}

// sweepAt waits for a node's sweep for as long as something comes of it. One that goes on
// after that is as safe as one that is waited for.
func (g *collection) sweepAt(id schemas.NodeID) error {
	req := &schemas.SweepRequest{Generation: g.res.Generation, Before: g.before, Epoch: g.nodes.Epoch}
	if err := bus.Request(g.ctx, g.c.nc, schemas.SweepSubject(id), req, &schemas.SweepReply{}); err != nil {
		return err
	}
	type progress struct {
		sweep         schemas.SweepStatus // whose numbers come at the end only
		chunks, bytes int64               // that the node holds
	}
	var last progress
	heard, moved := time.Now(), time.Now()
	for {
		var rep schemas.NodeStatusReply
		err := bus.Request(g.ctx, g.c.nc, schemas.StatusSubject(id), &schemas.StatusRequest{}, &rep)
		switch s := rep.Status.Sweep; {
		case err != nil:
			if time.Since(heard) > sweepSilence || g.ctx.Err() != nil {
				return err
			}
		case s == nil || s.Generation != g.res.Generation:
			return errors.New("it was restarted")
		case s.Ended:
			g.mu.Lock()
			g.res.Chunks, g.res.Bytes, g.res.Freed = g.res.Chunks+s.Chunks, g.res.Bytes+s.Bytes, g.res.Freed+s.Freed
			g.mu.Unlock()
			if s.Error != "" {
				return errors.New(s.Error)
			}
			return nil
		default:
			heard = time.Now()
			if now := (progress{*s, rep.Status.Node.Chunks, rep.Status.Node.Bytes}); now != last {
				last, moved = now, heard
			} else if heard.Sub(moved) > g.stall {
				return fmt.Errorf("nothing has come of its sweep for %v, which goes on by itself", g.stall)
			}
		}
		select {
		case <-g.ctx.Done():
			return g.ctx.Err()
		case <-time.After(sweepPoll):
		}
	}
}
