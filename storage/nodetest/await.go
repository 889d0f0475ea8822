package nodetest

import (
	"fmt"
	"slices"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/schemas/placement"
	"servidor-backup/storage/storagetest"
)

// AwaitComplete waits until the assigned nodes hold different parts of every chunk, and no
// other node holds any; then it checks the parts.
func (s *System) AwaitComplete(chunks ...schemas.Chunk) {
	s.t.Helper()
	m := s.NodeMap()
	why := ""
	defer func() {
		if s.t.Failed() && why != "" {
			s.t.Log(why)
			for _, n := range s.Nodes {
				s.t.Logf("%+v", n.Status().Survey)
			}
		}
	}()
	bustest.Eventually(s.t, "all chunks are complete", func() bool {
		for i := range chunks {
			if why = s.incomplete(m, &chunks[i]); why != "" {
				why = fmt.Sprintf("chunk %d of %d: %s", i, len(chunks), why)
				return false
			}
		}
		return true
	})
	s.checkParts(chunks...)
}

// incomplete says why a chunk is not complete, or has misplaced parts; "" if neither is so.
func (s *System) incomplete(m *schemas.NodeMap, c *schemas.Chunk) string {
	d := m.DurabilityOf(storagetest.Vault)
	k, want := 1, d.Replicas()
	if d.Splits(c.Kind, len(c.Content)) {
		k, want = int(d.K), d.Nodes()
	}
	assigned := placement.NewAssigned(m).Place(nil, c.ID, want)
	seen := map[schemas.Part]bool{}
	for _, n := range s.Nodes {
		parts := n.Parts(c.ID)
		switch {
		case !slices.Contains(assigned, n.ID) && len(parts) > 0:
			return fmt.Sprintf("an unassigned node has %v", parts)
		case slices.Contains(assigned, n.ID):
			if len(parts) != 1 || parts[0].K() != k || k > 1 && seen[parts[0]] {
				return fmt.Sprintf("an assigned node has %v", parts)
			}
			seen[parts[0]] = true
		}
	}
	if len(assigned) < want {
		return "there are too few nodes"
	}
	return ""
}

// checkParts fails the test unless every part that is held has the right content.
func (s *System) checkParts(chunks ...schemas.Chunk) {
	s.t.Helper()
	for i := range chunks {
		c := &chunks[i]
		for _, n := range s.Nodes {
			for _, p := range n.Parts(c.ID) {
				got, err := n.Store.GetPart(storagetest.Vault, c.ID, p)
				if err != nil {
					s.t.Fatal(err)
				}
				want := *c
				if p != schemas.Whole {
					shards, _, err := erasure.Split(schemas.Durability{K: uint8(p.K()), M: uint8(max(p.Shard()-p.K()+1, 1))}, c, nil)
					if err != nil {
						s.t.Fatal(err)
					}
					want = shards[p.Shard()]
				}
				storagetest.Same(s.t, want, got)
			}
		}
	}
}

// AwaitSurveys waits until every node has surveyed all that it holds under the newest map.
func (s *System) AwaitSurveys() {
	s.t.Helper()
	m := s.NodeMap()
	bustest.Eventually(s.t, "all nodes have surveyed the newest map", func() bool {
		for _, n := range s.Nodes {
			if n.Status().Survey.Epoch != m.Epoch {
				return false
			}
		}
		return true
	})
}

// AwaitCounts waits until the nodes together count a number of chunks as whole, none as less,
// and have nothing to do.
func (s *System) AwaitCounts(whole int64) {
	s.t.Helper()
	m := s.NodeMap()
	bustest.Eventually(s.t, fmt.Sprintf("%d chunks are counted as whole, and nothing is to be healed", whole), func() bool {
		var all int64
		for _, n := range s.Nodes {
			st := n.Status().Survey
			if st.Epoch != m.Epoch || st.ToHeal != 0 || st.Misplaced != 0 {
				return false
			}
			for _, l := range st.Levels {
				if l.Margin < int(l.Durability.M) {
					return false
				}
				all += l.Chunks
			}
		}
		return all == whole
	})
}

// Sum adds up a number of all nodes' surveys.
func (s *System) Sum(number func(schemas.Survey) int64) (sum int64) {
	for _, n := range s.Nodes {
		sum += number(n.Status().Survey)
	}
	return sum
}

// Healed is the number of parts made or moved, for [System.Sum].
func Healed(s schemas.Survey) int64 { return s.Healed }
