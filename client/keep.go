package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// Policy reads the operator's policies, or changes one first, for the nickname if it
// is not empty.
func (c *Client) Policy(ctx context.Context, set *schemas.Policy, nickname string) (*schemas.PolicyReply, error) {
	rep := new(schemas.PolicyReply)
	err := c.request(ctx, schemas.SubjectPolicy, &schemas.PolicyRequest{Set: set, Nickname: nickname}, rep)
	return rep, err
}

// SetNodeState drains a node (Draining), takes that back (Up), or takes the node out
// of the map (Removed; force does so although it still holds something).
func (c *Client) SetNodeState(ctx context.Context, node string, state schemas.State, force bool) (*schemas.NodeMap, error) {
	var rep schemas.NodeStateReply
	err := c.request(ctx, schemas.SubjectNodeState, &schemas.NodeStateRequest{Node: node, State: state, Force: force}, &rep)
	return rep.Map, err
}

// Forget forgets a version, or all versions of a record, or takes that back. It
// returns the ids of the versions whose state has changed.
func (c *Client) Forget(ctx context.Context, id string, undo bool) ([]string, error) {
	var rep schemas.ForgetReply
	err := c.request(ctx, schemas.SubjectForget, &schemas.ForgetRequest{Nickname: c.opt.Nickname, ID: id, Undo: undo}, &rep)
	return rep.Versions, err
}

// Collect starts a collection, or with nil asks how the newest went.
func (c *Client) Collect(ctx context.Context, req *schemas.CollectRequest) (*schemas.Collection, error) {
	if req == nil {
		req = &schemas.CollectRequest{}
	}
	var rep schemas.CollectReply
	err := c.request(ctx, schemas.SubjectCollect, req, &rep)
	return &rep.Collection, err
}

// RebuildCatalogue brings back what the catalogue has lost, or all of it, from the copies
// that the storage nodes hold.
func (c *Client) RebuildCatalogue(ctx context.Context) (*schemas.RebuildReply, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	rep := new(schemas.RebuildReply)
	err := c.request(ctx, schemas.SubjectRebuild, &schemas.RebuildRequest{}, rep)
	return rep, err
}

// Status tells how the system is: its nodes, how many chunks are whole, what is being
// healed and collected.
func (c *Client) Status(ctx context.Context) (*schemas.StatusReply, error) {
	rep := new(schemas.StatusReply)
	err := c.request(ctx, schemas.SubjectStatus, &schemas.StatusRequest{}, rep)
	return rep, err
}

// Scrub makes a node, or with "" every node, read back all that it holds, and returns
// the names of those that do.
func (c *Client) Scrub(ctx context.Context, node string) (names []string, err error) {
	m, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	wanted := slices.DeleteFunc(slices.Clone(m.Nodes), func(n schemas.Node) bool {
		return node != "" && n.Name != node && string(n.ID) != node
	})
	if len(wanted) == 0 && node != "" {
		return nil, schemas.Errorf(schemas.UnknownNode, "there is no storage node %q", node)
	}
	for _, n := range wanted {
		if !n.State.Reachable() && node == "" {
			continue
		}
		var rep schemas.ScrubReply
		if err := bus.Request(ctx, c.ctl, schemas.ScrubSubject(n.ID), &schemas.ScrubRequest{}, &rep); err != nil {
			if errors.Is(err, bus.ErrNoResponders) {
				err = fmt.Errorf("it does not answer: is it running? (%w)", err)
			}
			return names, fmt.Errorf("storage node %s: %w", n.Name, err)
		}
		names = append(names, n.Name)
	}
	return names, nil
}
