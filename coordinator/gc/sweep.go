package gc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

const (
	// sweepPoll is how often a node is asked for the progress of its sweep.
	sweepPoll = 200 * time.Millisecond
	// sweepResponseTime is for how long a node may leave that unanswered.
	sweepResponseTime = time.Minute
	// sweepStall is for how long a sweep may make no progress.
	sweepStall = 10 * time.Minute
)

// sweep makes the nodes remove what was not marked.
type sweep struct {
	nodes  *nodeSet
	oldest uint32        // generation of the oldest open session
	stall  time.Duration // 0 is sweepStall

	mu                   sync.Mutex
	chunks, bytes, freed int64 // that were removed, and bytes that came back to the file system
}

// run waits for the sweeps of all nodes that take part. A node whose sweep fails is skipped.
func (s *sweep) run(ctx context.Context) error {
	if s.stall == 0 {
		s.stall = sweepStall
	}
	var all sync.WaitGroup
	for i := range s.nodes.all.Nodes {
		// The chunks of a draining node are assigned to other nodes, so none was marked there.
		if n := &s.nodes.all.Nodes[i]; n.State == schemas.Up && s.nodes.takesPart(n.ID) {
			all.Go(func() {
				if err := s.runAt(ctx, n.ID); err != nil {
					s.nodes.skip(n.ID, err)
				}
			})
		}
	}
	all.Wait()
	return ctx.Err()
}

// runAt starts a node's sweep and waits for it as long as it makes progress. A sweep that goes
// on after that is as safe as one that is waited for.
func (s *sweep) runAt(ctx context.Context, id schemas.NodeID) error {
	generation := s.nodes.generation
	req := &schemas.SweepRequest{Generation: generation, Before: s.oldest, Epoch: s.nodes.all.Epoch}
	if err := bus.Request(ctx, s.nodes.nc, schemas.SweepSubject(id), req, &schemas.SweepReply{}); err != nil {
		return err
	}
	type state struct {
		sweep         schemas.SweepStatus // its numbers come at the end only
		chunks, bytes int64               // that the node holds
	}
	var last state
	responded, progressed := time.Now(), time.Now()
	for {
		var rep schemas.NodeStatusReply
		err := bus.Request(ctx, s.nodes.nc, schemas.StatusSubject(id), &schemas.StatusRequest{}, &rep)
		switch sw := rep.Status.Sweep; {
		case err != nil:
			if time.Since(responded) > sweepResponseTime || ctx.Err() != nil {
				return err
			}
		case sw == nil || sw.Generation != generation:
			return errors.New("it was restarted")
		case sw.Ended:
			s.count(sw)
			if sw.Error != "" {
				return errors.New(sw.Error)
			}
			return nil
		default:
			responded = time.Now()
			if now := (state{*sw, rep.Status.Node.Chunks, rep.Status.Node.Bytes}); now != last {
				last, progressed = now, responded
			} else if responded.Sub(progressed) > s.stall {
				return fmt.Errorf("its sweep has made no progress for %v, and goes on by itself", s.stall)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sweepPoll):
		}
	}
}

func (s *sweep) count(sw *schemas.SweepStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks, s.bytes, s.freed = s.chunks+sw.Chunks, s.bytes+sw.Bytes, s.freed+sw.Freed
}
