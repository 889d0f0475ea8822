package client

import "fmt"

// survivor walks the entries of a part and goes on behind nodes that nobody can
// deliver whole: what they held is lost, and the rest is not.
type survivor struct {
	r       *restorer
	part    restorePart
	entries *entryIter
}

// Next is [treeCursor.Next].
func (s *survivor) Next() (*Entry, bool, error) {
	for {
		e, ok, err := s.entries.Next()
		if err == nil || !isDamage(err) {
			return e, ok, err
		}
		lost, resumed := s.entries.resume()
		if !resumed {
			return e, ok, err
		}
		if lost != nil {
			s.tell(*lost, err)
		}
	}
}

// tell says what is lost.
func (s *survivor) tell(lost keyRange, err error) {
	from := s.part.path(lost.from)
	if from == "" { // it begins before what is asked for
		from = s.part.To
	}
	to := ""
	if lost.to != "" {
		to = s.part.path(lost.to)
	}
	if to == "" {
		s.r.fail(from, fmt.Errorf("lost with everything that comes after it: %w", err))
	} else {
		s.r.fail(from, fmt.Errorf("lost with everything that comes before %q: %w", to, err))
	}
}
