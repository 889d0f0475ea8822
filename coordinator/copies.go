package coordinator

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/schemas"
)

// A catalogue that is empty, or older than one that the nodes have copies of, says nothing about
// what was saved: "not found" would be taken for "never saved". So every node that is up is asked
// for its copies, when the coordinator starts and whenever a node comes up. While one of them
// knows more than the catalogue, clients' requests are refused, until the catalogue is rebuilt,
// by whichever coordinator, or somebody says to begin anew.

const (
	// copiesEvery is how often the coordinator looks for nodes that were not asked yet.
	copiesEvery = 2 * time.Second
	// copiesTime is how long a comparison may take.
	copiesTime = 20 * time.Second
	// answerTime is how long a node may take to answer.
	answerTime = 2 * time.Second
)

// copies knows whether nodes have copies of a catalogue that knows more.
type copies struct {
	c    *Coordinator
	turn chan struct{} // holds a value while nobody compares

	mu      sync.Mutex
	started time.Time                // of the newest comparison
	epoch   uint64                   // of its map
	asked   map[schemas.NodeID]int64 // the nodes that have answered, and since when they were up then
	lost    error                    // the catalogue is
	failed  error                    // why a node was not asked
	anew    bool                     // somebody has said to begin anew
}

func newCopies(c *Coordinator) *copies {
	p := &copies{c: c, turn: make(chan struct{}, 1), asked: map[schemas.NodeID]int64{}, anew: c.opt.BeginAnew}
	p.turn <- struct{}{}
	return p
}

// watch compares when nodes have come up, and asks those again that did not answer, until the
// coordinator ends.
func (p *copies) watch() {
	tick := time.NewTicker(copiesEvery)
	defer tick.Stop()
	for {
		changed := p.c.members.Changed()
		_ = p.compare(p.c.run) // a request returns the error
		select {
		case <-p.c.run.Done():
			return
		case <-changed: // so that the next request need not wait for the comparison
		case <-tick.C:
			if _, failed := p.result(); failed != nil {
				p.reset()
			}
		}
	}
}

// holds reports whether the result of the newest comparison holds for a request that came at a
// time. That the catalogue is lost, or may be, ends without a sign when another coordinator has
// rebuilt it. So that result holds only if the comparison began after the request.
func (p *copies) holds(came time.Time) bool {
	epoch, begun := p.c.members.Epoch(), p.c.catalog.SystemID() != ""
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started.After(came) || epoch == p.epoch && p.lost == nil && (p.failed == nil || begun)
}

// result returns what the newest comparison has found: lost is the refusal, failed says why
// some nodes could not be asked.
func (p *copies) result() (lost, failed error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost, p.failed
}

// reset makes the next request compare.
func (p *copies) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch = 0
}

// compare asks the nodes that came up since the newest comparison, or all of them while the
// catalogue is lost. One caller compares at a time; the others wait for it.
func (p *copies) compare(ctx context.Context) error {
	came := time.Now()
	if p.holds(came) {
		return nil
	}
	select {
	case <-p.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.turn <- struct{}{} }()
	if p.holds(came) {
		return nil
	}
	started, nodes := time.Now(), p.c.members.Map()
	limited, cancel := context.WithTimeout(ctx, copiesTime)
	defer cancel()
	asked, lost, failed := p.ask(limited, nodes)
	if ctx.Err() != nil {
		return ctx.Err() // the caller's time was short: the next one tries again
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if lost != nil && p.lost == nil {
		p.c.opt.Log.Warn("the catalogue is lost", "error", lost)
	}
	p.lost, p.failed, p.epoch, p.started = lost, failed, nodes.Epoch, started
	for _, n := range asked {
		p.asked[n.ID] = n.Since
	}
	return nil
}

// ask compares the catalogue with the copies on nodes. It returns the nodes that were asked.
func (p *copies) ask(ctx context.Context, nodes *schemas.NodeMap) (asked []schemas.Node, lost, failed error) {
	wasLost, _ := p.result()
	var mu sync.Mutex
	var asking sync.WaitGroup
	var holders []schemas.NodeID
	for _, n := range nodes.Nodes {
		if !n.State.Reachable() || wasLost == nil && p.wasAsked(&n) {
			continue
		}
		asking.Go(func() {
			has, err := p.hasCopies(ctx, &n)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = schemas.Errorf(schemas.Unavailable, "storage node %s does not say whether it has a copy of the catalogue: %v", n.Name, err)
				return
			}
			asked = append(asked, n)
			if has {
				holders = append(holders, n.ID)
			}
		})
	}
	asking.Wait()
	if len(holders) > 0 {
		missing, err := p.c.catalog.Missing(ctx, nodes, holders)
		if err == nil {
			lost, err = p.judge(ctx, missing)
		}
		if lost != nil || err != nil {
			return nil, lost, err
		}
	}
	if failed == nil && len(asked) > 0 {
		failed = p.c.catalog.Begin(ctx)
	}
	return asked, nil, failed
}

// hasCopies asks a node whether it has copies of a catalogue.
func (p *copies) hasCopies(ctx context.Context, n *schemas.Node) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var rep schemas.ChunkIDsReply
	err := bus.Request(ctx, p.c.nc, schemas.ChunksSubject(n.ID), &schemas.ChunksRequest{Vault: schemas.CatalogueVault()}, &rep)
	if errors.Is(err, bus.ErrNoResponders) && n.Version == "" {
		// Our nodes tell their version. This is another program, which keeps no copies.
		return false, nil
	}
	return len(rep.IDs) > 0, err
}

func (p *copies) wasAsked(n *schemas.Node) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, asked := p.asked[n.ID]
	return asked && since == n.Since
}

// judge returns the refusal if the catalogue lacks what nodes' copies know.
func (p *copies) judge(ctx context.Context, missing *catalog.Missing) (lost, err error) {
	if missing.Key == "" { // an empty catalogue beside copies that cannot be read is lost, too
		begun, err := p.c.catalog.IsBegun(ctx)
		if err != nil || begun || !missing.Copies {
			return nil, err
		}
	}
	if p.anew {
		p.c.opt.Log.Warn("the catalogue begins anew, without what storage nodes know of the one before")
		return nil, p.c.catalog.BeginAnew(ctx, missing)
	}
	return schemas.Explain(schemas.CatalogueLost, "catalogue-lost", "the catalogue is lost, or an older one has taken its place: storage nodes have copies of one that knows more ({key})", "key", cmp.Or(missing.Key, "?")), nil
}

// checkCatalogue refuses requests while the catalogue is lost.
func (p *copies) checkCatalogue(ctx context.Context) error {
	if err := p.compare(ctx); err != nil {
		return err
	}
	lost, _ := p.result()
	return lost
}

// checkKnown refuses requests, too, as long as an empty catalogue may be a lost one: no node has
// said yet that it has no copy.
func (p *copies) checkKnown(ctx context.Context) error {
	if err := p.checkCatalogue(ctx); err != nil || p.c.catalog.SystemID() != "" {
		return err
	}
	begun, err := p.c.catalog.IsBegun(ctx)
	if err != nil || begun {
		return err
	}
	if _, failed := p.result(); failed != nil {
		return failed
	}
	return schemas.Explain(schemas.NoNode, "catalogue-empty", "the catalogue is empty, and no storage node is up that could have a copy of a lost one: start the storage nodes")
}
