package restore

import (
	"fmt"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/tree"
)

// survivor iterates over the entries of a part. It reports a tree chunk that is damaged as lost,
// and goes on after it.
type survivor struct {
	part    Part
	fail    func(path string, err error)
	entries *tree.Entries
}

// next returns the next entry that is not lost, as [tree.Entries.Next] does.
func (s *survivor) next() (*tree.Entry, bool, error) {
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
			s.report(*lost, err)
		}
	}
}

// report reports that the paths from lost.From up to lost.To are lost.
func (s *survivor) report(lost tree.KeyRange, err error) {
	from := s.part.path(lost.From)
	if from == "" { // the lost range begins before the part
		from = s.part.To
	}
	to := ""
	if lost.To != "" {
		to = s.part.path(lost.To)
	}
	if to == "" {
		s.fail(from, fmt.Errorf("lost with everything that comes after it: %w", err))
	} else {
		s.fail(from, fmt.Errorf("lost with everything that comes before %q: %w", to, err))
	}
}
