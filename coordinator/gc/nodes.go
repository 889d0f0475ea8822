package gc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// nodeSet is the nodes of a collection, and which of them take part. A node that fails once is
// left out from then on: it is not asked again, and does not sweep.
type nodeSet struct {
	nc         *nats.Conn
	all        *schemas.NodeMap // as of the beginning
	assigned   *placement.Placement
	reader     *replica.Reader
	generation uint32

	mu      sync.Mutex
	inside  map[schemas.NodeID]bool   // the nodes that know the generation; false after a failure
	skipped map[schemas.NodeID]string // why a node was left out
}

func newNodeSet(nc *nats.Conn, all *schemas.NodeMap, generation uint32) *nodeSet {
	return &nodeSet{nc: nc, all: all, assigned: placement.NewAssigned(all), reader: replica.NewReader(nc, all), generation: generation,
		inside: map[schemas.NodeID]bool{}, skipped: map[schemas.NodeID]string{}}
}

// enterGeneration makes all reachable nodes enter the generation.
func (s *nodeSet) enterGeneration(ctx context.Context) error {
	var all sync.WaitGroup
	for i := range s.all.Nodes {
		n := &s.all.Nodes[i]
		if n.State == schemas.Gone {
			continue
		}
		if !n.State.Reachable() {
			s.skip(n.ID, fmt.Errorf("it is %s", n.State))
			continue
		}
		all.Go(func() {
			req := &schemas.GenerationRequest{Generation: s.generation}
			if err := bus.Request(ctx, s.nc, schemas.GenerationSubject(n.ID), req, &schemas.GenerationReply{}); err != nil {
				s.skip(n.ID, err)
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.inside[n.ID] = true
		})
	}
	all.Wait()
	if len(s.takingPart()) == 0 {
		return schemas.Explain(schemas.NoNode, "no-node-takes-part", "no storage node takes part")
	}
	return nil
}

// skip leaves a node out from now on.
func (s *nodeSet) skip(id schemas.NodeID, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside[id] = false
	if s.skipped[id] == "" {
		name := string(id)
		if n := s.all.Find(id); n != nil {
			name = n.Name
		}
		s.skipped[id] = fmt.Sprintf("%s: %v", name, why)
	}
}

func (s *nodeSet) takesPart(id schemas.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inside[id]
}

// takingPart lists the nodes that take part, in the order of the map.
func (s *nodeSet) takingPart() (ids []schemas.NodeID) {
	for i := range s.all.Nodes {
		if id := s.all.Nodes[i].ID; s.takesPart(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// complete reports whether every node that is not gone takes part.
func (s *nodeSet) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all.Nodes {
		if n := &s.all.Nodes[i]; n.State != schemas.Gone && !s.inside[n.ID] {
			return false
		}
	}
	return true
}

// skippedText says which nodes were left out, and why.
func (s *nodeSet) skippedText() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, id := range slices.Sorted(maps.Keys(s.skipped)) {
		all = append(all, s.skipped[id])
	}
	return strings.Join(all, "; ")
}
