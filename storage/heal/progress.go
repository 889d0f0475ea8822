package heal

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"servidor-backup/schemas"
)

// progress is how the jobs of a survey go.
type progress struct {
	mu      sync.Mutex
	began   time.Time                // the first pass that does jobs
	failed  map[schemas.NodeID]error // nodes that take nothing now; they are left alone until the next survey
	trouble string                   // the last failure that is not a node's
	healed  int64                    // parts
}

func (p *progress) start() { p.failed = map[schemas.NodeID]error{} }

// takes reports whether a node can be sent parts now, as far as is known.
func (p *progress) takes(nodes *schemas.NodeMap, to schemas.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if card := nodes.Find(to); p.failed[to] == nil && card != nil && card.Trouble != "" {
		p.failed[to] = schemas.Errorf(schemas.Code(card.Trouble), "%s", card.Trouble)
	}
	return p.failed[to] == nil
}

// partFailed records that a part could not be read, fetched or made.
func (p *progress) partFailed(log *slog.Logger, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = err.Error()
	log.Warn("a part could not be healed", "error", err)
}

// delivered records the end of a message to a node, or of a part for h's own node.
func (p *progress) delivered(h *Healer, to schemas.NodeID, parts, bytes int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.failed[to] == nil {
			h.opt.Log.Warn("a node could not be sent the parts that it lacks", "node", to, "error", err)
		}
		p.failed[to] = err
		return
	}
	p.healed += parts
	h.report(func(r *schemas.Survey) {
		r.Healed += parts
		r.Bytes += bytes
		r.ToHeal -= parts
		r.Left = int64(float64(time.Since(p.began)) / float64(p.healed) * float64(max(0, r.ToHeal)))
	})
}

// waiting says why some jobs could not be done; "" if all were.
func (p *progress) waiting(nodes *schemas.NodeMap) string {
	if len(p.failed) == 0 {
		return p.trouble
	}
	node := slices.Min(slices.Collect(maps.Keys(p.failed)))
	name := string(node)
	if card := nodes.Find(node); card != nil {
		name = card.Name
	}
	return fmt.Sprintf("storage node %s: %v", name, p.failed[node])
}
