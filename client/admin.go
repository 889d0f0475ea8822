package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// Nodes returns the node map.
func (c *Client) Nodes(ctx context.Context) (*schemas.NodeMap, error) {
	var rep schemas.NodesReply
	err := c.ctl.request(ctx, schemas.SubjectNodes, &schemas.NodesRequest{}, &rep)
	return rep.Map, err
}

// Policy changes the policies that are set in set, unless it is nil, and returns the policies of
// the system, or of one nickname if it is not empty.
func (c *Client) Policy(ctx context.Context, set *schemas.Policy, nickname string) (*schemas.PolicyReply, error) {
	rep := new(schemas.PolicyReply)
	err := c.ctl.request(ctx, schemas.SubjectPolicy, &schemas.PolicyRequest{Set: set, Nickname: nickname}, rep)
	return rep, err
}

// SetNodeState drains a node (Draining), ends that (Up), or removes the node from the map
// (Removed), and returns the new map. force removes a node that still holds chunks.
func (c *Client) SetNodeState(ctx context.Context, node string, state schemas.State, force bool) (*schemas.NodeMap, error) {
	var rep schemas.NodeStateReply
	err := c.ctl.request(ctx, schemas.SubjectNodeState, &schemas.NodeStateRequest{Node: node, State: state, Force: force}, &rep)
	return rep.Map, err
}

// Forget forgets a version, or all versions of a record; with undo it takes that back. It returns
// the ids of the versions whose state has changed.
func (c *Client) Forget(ctx context.Context, id string, undo bool) ([]string, error) {
	var rep schemas.ForgetReply
	err := c.ctl.request(ctx, schemas.SubjectForget, &schemas.ForgetRequest{Nickname: c.opt.Nickname, ID: id, Undo: undo}, &rep)
	return rep.Versions, err
}

// Collect starts a garbage collection. With nil it only returns the state of the newest one.
func (c *Client) Collect(ctx context.Context, req *schemas.CollectRequest) (*schemas.Collection, error) {
	if req == nil {
		req = &schemas.CollectRequest{}
	}
	var rep schemas.CollectReply
	err := c.ctl.request(ctx, schemas.SubjectCollect, req, &rep)
	return &rep.Collection, err
}

// RebuildCatalogue restores what the catalogue has lost, or all of it, from the catalogue backup on
// the storage nodes.
func (c *Client) RebuildCatalogue(ctx context.Context) (*schemas.RebuildReply, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	rep := new(schemas.RebuildReply)
	err := c.ctl.request(ctx, schemas.SubjectRebuild, &schemas.RebuildRequest{}, rep)
	return rep, err
}

// Status returns the state of the system: its nodes, how many chunks are whole, and what is being
// healed and collected.
func (c *Client) Status(ctx context.Context) (*schemas.StatusReply, error) {
	rep := new(schemas.StatusReply)
	err := c.ctl.request(ctx, schemas.SubjectStatus, &schemas.StatusRequest{}, rep)
	return rep, err
}

// Nicknames lists the nicknames under which something was saved, sorted.
func (c *Client) Nicknames(ctx context.Context) (all []string, err error) {
	for req := new(schemas.NicknamesRequest); ; {
		var rep schemas.NicknamesReply
		if err := c.ctl.request(ctx, schemas.SubjectNicknames, req, &rep); err != nil {
			return nil, err
		}
		all = append(all, rep.Nicknames...)
		if req.After = rep.Next; req.After == "" {
			return all, nil
		}
	}
}

// Scrub makes a node read back everything that it holds. node is a name or an id; "" means every
// reachable node. It returns the names of the nodes that have started.
func (c *Client) Scrub(ctx context.Context, node string) (names []string, err error) {
	m, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	wanted := slices.DeleteFunc(slices.Clone(m.Nodes), func(n schemas.Node) bool {
		return node != "" && n.Name != node && string(n.ID) != node
	})
	if len(wanted) == 0 && node != "" {
		return nil, schemas.Explain(schemas.UnknownNode, "no-such-node", "no storage node is called \"{node}\"", "node", node)
	}
	for _, n := range wanted {
		if !n.State.Reachable() && node == "" {
			continue
		}
		var rep schemas.ScrubReply
		if err := bus.Request(ctx, c.ctl.nc, schemas.ScrubSubject(n.ID), &schemas.ScrubRequest{}, &rep); err != nil {
			if errors.Is(err, bus.ErrNoResponders) {
				return names, schemas.Explain("", "node-does-not-answer", "storage node {node} does not answer: is it running?", "node", n.Name).WithKind(err)
			}
			return names, fmt.Errorf("storage node %s: %w", n.Name, err)
		}
		names = append(names, n.Name)
	}
	return names, nil
}
