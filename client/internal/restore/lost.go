package restore

import (
	"fmt"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/tree"
)

// survivor walks the entries of a part and goes on behind nodes that nobody can
// deliver whole: what they held is lost, and the rest is not.
type survivor struct {
	r       *restorer
	part    Part
	entries *tree.Entries
}

// Next is [tree.Entries.Next].
func (s *survivor) Next() (*tree.Entry, bool, error) {
	for {
		e, ok, err := s.entries.Next()
		if err == nil || !download.IsDamage(err) {
			return e, ok, err
		}
		lost, resumed := s.entries.Resume()
		if !resumed {
			return e, ok, err
		}
		if lost != nil {
			s.tell(*lost, err)
		}
	}
}

// tell says what is lost.
func (s *survivor) tell(lost tree.KeyRange, err error) {
	from := s.part.path(lost.From)
	if from == "" { // it begins before what is asked for
		from = s.part.To
	}
	to := ""
	if lost.To != "" {
		to = s.part.path(lost.To)
	}
	if to == "" {
		s.r.fail(from, fmt.Errorf("lost with everything that comes after it: %w", err))
	} else {
		s.r.fail(from, fmt.Errorf("lost with everything that comes before %q: %w", to, err))
	}
}
