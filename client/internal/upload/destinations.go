package upload

import (
	"context"
	"fmt"
	"sync"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

const (
	// giveUpAfter is how long an upload lasts without progress, unless Options.Wait says otherwise:
	// while there are too few nodes, while nodes refuse data, or while no node answers a question.
	giveUpAfter = 60 * time.Second
	// avoidTime is how long a node that did not accept data is avoided while there are enough
	// other nodes; shortAvoidTime the same while there are not.
	avoidTime      = 30 * time.Second
	shortAvoidTime = time.Second
	// pollTime is the time between two looks at the nodes while there are too few.
	pollTime = 100 * time.Millisecond
)

// destinations chooses the nodes that a chunk is sent to: those of the newest map, without the
// nodes that have just refused data or did not answer. If that leaves too few nodes, it waits for
// more. It is safe for concurrent use.
type destinations struct {
	nodes  nodeInfo
	vault  schemas.VaultID
	status func(schemas.Sentence)
	limit  time.Duration // how long to go on without progress

	mu        sync.Mutex
	nodeMap   *schemas.NodeMap     // the map of placement
	placement *placement.Placement // of its nodes that are not avoided
	avoided   map[schemas.NodeID]avoided
	next      time.Time // when the first of the avoided nodes is tried again; zero if none is avoided
	fewSince  time.Time // since when there are too few nodes; zero if there are enough
	failing   time.Time // the first failure since the last progress
	progress  time.Time // when nodes accepted data last
	said      string    // what status was told last
}

// nodeInfo is what a [replica.Reader] knows of the storage nodes.
type nodeInfo interface {
	// Map returns the newest node map.
	Map() *schemas.NodeMap
	// DurabilityOn returns the durability of a vault's new chunks while that many nodes accept
	// data.
	DurabilityOn(vault schemas.VaultID, nodes int) schemas.Durability
	// Responded reports whether any node has responded so far.
	Responded() bool
}

// avoided is why a node is avoided, and until when.
type avoided struct {
	until time.Time
	why   error
}

func newDestinations(nodes nodeInfo, vault schemas.VaultID, status func(schemas.Sentence)) *destinations {
	return &destinations{nodes: nodes, vault: vault, status: status, limit: giveUpAfter, avoided: map[schemas.NodeID]avoided{}}
}

// noteProgress notes that nodes have accepted data.
func (ds *destinations) noteProgress() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.progress, ds.failing = time.Now(), time.Time{}
}

// noteFailure notes that nodes did not accept data. If that has gone on for too long, it returns
// the failure.
func (ds *destinations) noteFailure(failure *replica.PartialFailure) error {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	now := time.Now()
	if ds.failing.IsZero() {
		ds.failing = now
	}
	if now.Sub(ds.failing) > ds.limit {
		return failure
	}
	for _, id := range failure.Nodes {
		// A node that is not writable is avoided because of the map.
		if n := ds.nodes.Map().Find(id); n != nil && n.Writable() {
			ds.avoided[id] = avoided{now.Add(avoidTime), failure.Err}
		}
	}
	ds.nodeMap = nil // so that the placement is made again
	return nil
}

// choose appends to dst the nodes that a chunk is sent to, as many as need returns for the
// durability. It waits until there are so many nodes. It returns the durability that it chose for.
func (ds *destinations) choose(ctx context.Context, dst []schemas.NodeID, id schemas.ChunkID, need func(schemas.Durability) int) (schemas.Durability, []schemas.NodeID, error) {
	for {
		d, p, n, err := ds.enough(need)
		if err != nil {
			return d, nil, err
		}
		if p != nil {
			return d, p.Place(dst, id, n), nil
		}
		select {
		case <-ctx.Done():
			return d, nil, context.Cause(ctx)
		case <-time.After(pollTime):
		}
	}
}

// enough returns the durability, the placement and how many nodes are needed. The placement is nil
// if it has fewer nodes; the error says that there is no prospect of more.
func (ds *destinations) enough(need func(schemas.Durability) int) (schemas.Durability, *placement.Placement, int, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	now := time.Now()
	if m := ds.nodes.Map(); m != ds.nodeMap || !ds.next.IsZero() && now.After(ds.next) {
		ds.makePlacement(m, now)
	}
	d := ds.nodes.DurabilityOn(ds.vault, ds.placement.Len())
	n := need(d)
	if ds.placement.Len() >= n {
		ds.fewSince = time.Time{}
		ds.setStatus(schemas.Sentence{})
		return d, ds.placement, n, nil
	}
	if ds.fewSince.IsZero() {
		ds.fewSince = now
	}
	return d, nil, n, ds.checkProspect(n, now)
}

// makePlacement makes the placement of the map's nodes that are not avoided.
func (ds *destinations) makePlacement(m *schemas.NodeMap, now time.Time) {
	ds.nodeMap, ds.next = m, time.Time{}
	rest := schemas.NodeMap{}
	for _, n := range m.Nodes {
		a, isAvoided := ds.avoided[n.ID]
		// What a node refused before it was down does not count when it is up again.
		if isAvoided && (now.After(a.until) || !n.State.Reachable()) {
			delete(ds.avoided, n.ID)
			isAvoided = false
		}
		if !isAvoided {
			rest.Nodes = append(rest.Nodes, n)
		} else if ds.next.IsZero() || a.until.Before(ds.next) {
			ds.next = a.until
		}
	}
	ds.placement = placement.New(&rest)
}

// checkProspect tells status what is waited for while there are fewer than n nodes. It returns an
// error if there is no prospect of more: a full disk will not be empty in a minute, and nodes that
// have not come for a minute may never come.
func (ds *destinations) checkProspect(n int, now time.Time) error {
	var others []string   // nodes that are not writable, with the reason
	var full error        // of a node that has no capacity
	up, prospects := 0, 0 // nodes that are writable; those, and nodes that may become so
	for i := range ds.nodeMap.Nodes {
		node := &ds.nodeMap.Nodes[i]
		a, isAvoided := ds.avoided[node.ID]
		code := schemas.CodeOf(a.why)
		switch {
		case isAvoided && (code == schemas.DiskFull || code == schemas.DiskFailed):
			full = a.why
			others = append(others, fmt.Sprintf("%s: %s", node.Name, code))
		case node.State == schemas.Up && node.Trouble != "":
			full = schemas.Explain(schemas.Code(node.Trouble), "node-in-trouble", "storage node {node} accepts no data: {state}", "node", node.Name, "state", node.Trouble)
			others = append(others, fmt.Sprintf("%s: %s", node.Name, node.Trouble))
		case isAvoided: // it is tried again soon, because too few others are left
			a.until = now.Add(min(a.until.Sub(now), shortAvoidTime))
			if ds.next.IsZero() || a.until.Before(ds.next) {
				ds.next = a.until
			}
			ds.avoided[node.ID] = a
			others = append(others, node.Name+": silent")
			prospects++
		case node.Writable():
			up++
			prospects++
		default:
			others = append(others, fmt.Sprintf("%s: %s", node.Name, node.State))
			if node.State == schemas.Down {
				prospects++
			}
		}
	}
	if full != nil && prospects < n {
		return full
	}
	since := ds.fewSince
	if ds.progress.After(since) {
		since = ds.progress
	}
	if !ds.nodes.Responded() || now.Sub(since) > ds.limit {
		return schemas.Explain(schemas.NoNode, "too-few-nodes-now",
			"too few storage nodes for this backup: {ready} of {needed} are up{others}: start more and run it again; what is stored already is not sent again",
			"ready", up, "needed", n, "others", schemas.SayOthers(others))
	}
	ds.setStatus(schemas.Say("waiting-for-nodes", "waiting for storage nodes: {ready} of {needed} are up{others}",
		"ready", up, "needed", n, "others", schemas.SayOthers(others)))
	return nil
}

// setStatus tells status what is waited for, if that is not what it was told last.
func (ds *destinations) setStatus(s schemas.Sentence) {
	if s.Text != ds.said {
		ds.said = s.Text
		ds.status(s)
	}
}
