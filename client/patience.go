package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// patience waits for storage nodes that restart, or whose place others take: a
// question whose answer does not come is asked again, as it may have been lost with
// the connection, and as the map may be another one by then. It is shared by all
// questions of a backup or restore.
type patience struct {
	holders *replica.Reader
	limit   time.Duration // for how long it is asked
	status  func(text string)
}

// ask calls try until it succeeds, fails for another reason than silence, or
// nobody has answered for long enough: less when no node ever did.
func (p *patience) ask(ctx context.Context, try func() error) error {
	for start := time.Now(); ; {
		err := try()
		if err == nil {
			return nil
		}
		limit := p.limit
		if errors.Is(err, bus.ErrNoResponders) && !p.holders.Responded() {
			limit = absentTime
		}
		again := isSilence(err) || schemas.CodeOf(err) == schemas.NoNode && p.holders.Responded()
		if !again || ctx.Err() != nil || time.Since(start) > limit {
			return err
		}
		p.status("waiting for a storage node")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		p.status("")
	}
}

// isSilence reports whether err passes when a node is back: nobody answers, or
// only to say that it is leaving.
func isSilence(err error) bool {
	switch schemas.CodeOf(err) {
	case schemas.Unavailable, schemas.NodeClosed:
		return true
	}
	return errors.Is(err, bus.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded)
}

// renewTime is how long after a question for the node map no other is asked.
const renewTime = time.Second

// source fetches the chunks of a vault.
type source struct {
	patience
	vault    schemas.VaultID
	throttle *throttle // of what comes
	first    *schemas.NodeMap
	// nodes asks for the node map; nil leaves it as it is.
	nodes func(context.Context) (*schemas.NodeMap, error)

	mu      sync.Mutex
	renewed time.Time
}

func newSource(vault schemas.VaultID, holders *replica.Reader, status func(string)) *source {
	return &source{patience: patience{holders: holders, limit: roleTime, status: status}, vault: vault, first: holders.Map()}
}

// chunks is [replica.Reader.Chunks], patiently: got is called once for each chunk,
// however often it has to be asked for. What is not found is looked for again
// with a newer node map, if there is one.
func (s *source) chunks(ctx context.Context, ids []schemas.ChunkID, got func(place int, c *schemas.Chunk) error) error {
	return s.throttle.ask(ctx, func() (int, error) {
		var bytes atomic.Int64
		err := s.patiently(ctx, ids, func(place int, c *schemas.Chunk) error {
			bytes.Add(int64(c.Size()))
			return got(place, c)
		})
		return int(bytes.Load()), err
	})
}

func (s *source) patiently(ctx context.Context, ids []schemas.ChunkID, got func(place int, c *schemas.Chunk) error) error {
	came := make([]atomic.Bool, len(ids))
	once := func() error {
		var at []int
		var rest []schemas.ChunkID
		for i := range ids {
			if !came[i].Load() {
				at, rest = append(at, i), append(rest, ids[i])
			}
		}
		return s.holders.Fetch(ctx, s.vault, rest, false, func(i int, c *schemas.Chunk) error {
			err := got(at[i], c)
			came[at[i]].Store(err == nil)
			return err
		})
	}
	return s.ask(ctx, func() error {
		before := s.holders.Map().Epoch
		err := once()
		if !isAbsence(err) {
			return err
		}
		s.renew(ctx)
		if s.holders.Map().Epoch != before {
			err = once()
		}
		if schemas.CodeOf(err) == schemas.NotHeld && leavesOut(s.holders.Map(), s.first) {
			// It is rather waited for than its chunks taken for lost.
			return fmt.Errorf("%w: %v", errLeft, err)
		}
		return err
	})
}

// errLeft says that a node which was there has left, and may have had what is asked for.
var errLeft = fmt.Errorf("a storage node is away: %w", bus.ErrNoResponders)

// isAbsence reports whether err may come of a node map that is out of date.
func isAbsence(err error) bool {
	code := schemas.CodeOf(err)
	return err != nil && (code == schemas.NotHeld || code == schemas.NoNode || isSilence(err))
}

// renew follows the newest node map. A coordinator that does not answer changes
// nothing.
func (s *source) renew(ctx context.Context) {
	if s.nodes == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.renewed) < renewTime {
		return
	}
	m, err := s.nodes(ctx)
	s.renewed = time.Now()
	if err == nil {
		s.holders.SetMap(m)
	}
}

// leavesOut reports whether some node could be asked under the old map and cannot
// under the newer one.
func leavesOut(newer, old *schemas.NodeMap) bool {
	return slices.ContainsFunc(old.Nodes, func(n schemas.Node) bool {
		now := newer.Find(n.ID)
		return n.State.Reachable() && (now == nil || !now.State.Reachable())
	})
}
