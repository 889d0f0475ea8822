package heal

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"servidor-backup/schemas"
)

// progress is how the jobs of a survey go.
type progress struct {
	began time.Time // of the first pass that does jobs

	mu sync.Mutex
	// failed are nodes that take no parts now. They are left alone until the next survey.
	failed  map[schemas.NodeID]error
	trouble string // the last failure that was not a node's
	healed  int64  // parts
}

// takes reports whether a node takes parts now, as far as is known.
func (s *survey) takes(node schemas.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if card := s.view.nodes.Find(node); s.failed[node] == nil && card != nil && card.Trouble != "" {
		s.failed[node] = schemas.Errorf(schemas.Code(card.Trouble), "%s", card.Trouble)
	}
	return s.failed[node] == nil
}

// partFailed records that a part could not be read, fetched or made.
func (s *survey) partFailed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err.Error()
	s.h.opt.Log.Warn("a part could not be healed", "error", err)
}

// delivered records that parts were delivered to a node, which may be this one, or that the
// delivery failed.
func (s *survey) delivered(to schemas.NodeID, parts, bytes int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.failed[to] == nil {
			s.h.opt.Log.Warn("a node could not be sent the parts that it lacks", "node", to, "error", err)
		}
		s.failed[to] = err
		return
	}
	s.healed += parts
	s.h.report(func(r *schemas.Survey) {
		r.Healed += parts
		r.Bytes += bytes
		r.ToHeal -= parts
		r.TimeLeft = int64(float64(time.Since(s.began)) / float64(s.healed) * float64(max(0, r.ToHeal)))
	})
}

// waiting says why some jobs could not be done; "" if all were.
func (s *survey) waiting() string {
	if len(s.failed) == 0 {
		return s.trouble
	}
	node := slices.Min(slices.Collect(maps.Keys(s.failed)))
	name := string(node)
	if card := s.view.nodes.Find(node); card != nil {
		name = card.Name
	}
	return fmt.Sprintf("storage node %s: %v", name, s.failed[node])
}
