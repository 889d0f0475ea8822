package main

import (
	"context"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newNodes(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "nodes",
		Aliases: []string{"nós", "nos"},
		Short:   a.t("nodes.short"),
		Long:    a.t("nodes.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runNodes(cmd.Context(), a) },
	}
}

// runNodes prints the node map.
func runNodes(ctx context.Context, a *app) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	m, err := s.Nodes(ctx)
	if err != nil {
		return err
	}
	return printNodes(a.console, m.Nodes)
}

func printNodes(c *console, nodes []schemas.Node) error {
	if c.json {
		for i := range nodes {
			if err := c.printJSON(nodeJSON(&nodes[i])); err != nil {
				return err
			}
		}
		return nil
	}
	if len(nodes) == 0 {
		c.info(c.t("nodes.nothing"))
		return nil
	}
	nodeTable(c, nodes).print(c.row)
	return nil
}

func nodeTable(c *console, nodes []schemas.Node) *table {
	t := newTable(c.t("nodes.name"), c.t("nodes.node-id"), c.t("nodes.state"), c.t("nodes.zone"), ">"+c.t("nodes.weight"),
		">"+c.t("nodes.chunks"), ">"+c.t("nodes.bytes"), ">"+c.t("nodes.free"), "")
	for i := range nodes {
		n := &nodes[i]
		t.add(c.show(n.Name), string(n.ID), nodeState(c.texts, n.State), dash(n.Zone), c.number(int64(n.Weight)),
			c.number(n.Chunks), c.size(n.Bytes), c.size(n.Free), nodeRemarks(c, n))
		switch {
		case n.State == schemas.Gone:
			c.mark(t, red)
		case n.State == schemas.Down || n.Trouble != "" || n.Older > 0:
			c.mark(t, yellow)
		}
	}
	return t
}

// nodeState is a node's state in the user's language. A state that this program does not
// know stays as it is.
func nodeState(x *texts, s schemas.State) string {
	switch s {
	case schemas.Up:
		return x.t("nodes.state-up")
	case schemas.Draining:
		return x.t("nodes.state-draining")
	case schemas.Down:
		return x.t("nodes.state-down")
	case schemas.Gone:
		return x.t("nodes.state-gone")
	}
	return quotePath(string(s))
}

// nodeTrouble says why a node refuses new data; "" if it does not.
func nodeTrouble(x *texts, code string) string {
	if code == "" {
		return ""
	}
	return x.t("nodes.trouble", "Code", quotePath(code))
}

// nodeRemarks says what is wrong with a node; "" if nothing is.
func nodeRemarks(c *console, n *schemas.Node) string {
	remarks := nodeTrouble(c.texts, n.Trouble)
	if n.Older > 0 {
		if remarks != "" {
			remarks += "; "
		}
		remarks += c.t("nodes.older", "When", c.when(n.Older))
	}
	return remarks
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return quotePath(s)
}

// jsonNode is the JSON of a node.
type jsonNode struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	State      string `json:"state"`
	Zone       string `json:"zone"`
	Weight     uint32 `json:"weight"`
	Chunks     int64  `json:"chunks"`
	Bytes      int64  `json:"bytes"`
	Free       int64  `json:"free"`
	Capacity   int64  `json:"capacity"`
	Version    string `json:"version"`
	Registered string `json:"registered"`
	Trouble    string `json:"trouble,omitempty"`
	Older      string `json:"older,omitempty"` // when it last came back with an older folder
}

func nodeJSON(n *schemas.Node) jsonNode {
	j := jsonNode{
		ID: string(n.ID), Name: n.Name, State: string(n.State), Zone: n.Zone, Weight: n.Weight, Chunks: n.Chunks,
		Bytes: n.Bytes, Free: n.Free, Capacity: n.Capacity, Version: n.Version,
		Registered: stamp(n.Registered), Trouble: n.Trouble,
	}
	if n.Older > 0 {
		j.Older = stamp(n.Older)
	}
	return j
}
