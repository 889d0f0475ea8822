package main

import (
	"cmp"
	"slices"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// condition is the sum of what all nodes report.
type condition struct {
	levels    []schemas.Level // the smallest margin first
	misplaced int64           // replicas that are not where placement wants them
	toHeal    int64           // parts still to heal
	healed    int64           // parts healed
	bytes     int64           // bytes healed
	left      time.Duration   // estimated time until all is healed; 0: unknown
	// surveyed reports that every reachable node has surveyed all it holds under this map.
	// Only then are the levels complete.
	surveyed bool
	newer    int64    // parts that came since; they are not in the levels
	waiting  []string // what nodes wait for
	// needsNodes are the durabilities that need more nodes than there are.
	needsNodes []schemas.Durability
	assignable int  // nodes that chunks can be assigned to
	down       bool // nodes are down; their replicas stay assigned to them
}

func conditionOf(s *schemas.StatusReply) condition {
	c := condition{surveyed: true, assignable: placement.NewAssigned(s.Map).Len()}
	sums := map[schemas.Level]int64{}
	surveyed := map[schemas.NodeID]bool{}
	for i := range s.Nodes {
		v := &s.Nodes[i].Survey
		surveyed[s.Nodes[i].Node.ID] = v.Ended > 0 && !v.Running && v.Epoch == s.Map.Epoch
		for _, l := range v.Levels {
			chunks := l.Chunks
			l.Chunks = 0
			sums[l] += chunks
		}
		c.newer += v.Newer
		c.misplaced += v.Misplaced
		c.toHeal += v.ToHeal
		c.healed += v.Healed
		c.bytes += v.Bytes
		c.left = max(c.left, time.Duration(v.TimeLeft))
		if v.Waiting != "" {
			c.waiting = append(c.waiting, s.Nodes[i].Node.Name+": "+v.Waiting)
		}
	}
	for _, n := range s.Map.Nodes {
		c.surveyed = c.surveyed && (surveyed[n.ID] || !n.State.Reachable())
		c.down = c.down || n.State == schemas.Down
	}
	for l, chunks := range sums {
		l.Chunks = chunks
		c.levels = append(c.levels, l)
		if d := l.Durability; d.Nodes() > c.assignable && !slices.Contains(c.needsNodes, d) {
			c.needsNodes = append(c.needsNodes, d)
		}
	}
	slices.SortFunc(c.needsNodes, func(x, y schemas.Durability) int { return cmp.Compare(x.Nodes(), y.Nodes()) })
	slices.SortFunc(c.levels, func(x, y schemas.Level) int {
		return cmp.Or(cmp.Compare(x.Margin, y.Margin), cmp.Compare(x.Durability.K, y.Durability.K), cmp.Compare(x.Durability.M, y.Durability.M))
	})
	return c
}

// intact reports whether every chunk has all its replicas and every replica is in its place.
func (c *condition) intact() bool {
	return c.surveyed && c.toHeal == 0 && c.misplaced == 0 && !c.has(levelEndangered) && !c.has(levelLost)
}

// has reports whether chunks are in a state.
func (c *condition) has(state string) bool {
	return slices.ContainsFunc(c.levels, func(l schemas.Level) bool { return levelState(l) == state })
}

// The states of chunks, as --json prints them.
const (
	levelIntact     = "intact"     // as many nodes may be lost as the durability says
	levelEndangered = "endangered" // fewer nodes may be lost
	levelLost       = "lost"       // the chunks cannot be read
)

func levelState(l schemas.Level) string {
	switch {
	case l.Margin < 0:
		return levelLost
	case l.Margin < int(l.Durability.M):
		return levelEndangered
	}
	return levelIntact
}
