package main

import (
	"context"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newNodes(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "nodes",
		Aliases: []string{"nos", "nós"},
		Short:   a.t("nodes.short"),
		Long:    a.t("nodes.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.nodes(cmd.Context()) },
	}
}

// nodes prints the node map.
func (a *app) nodes(ctx context.Context) error {
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	m, err := b.Nodes(ctx)
	if err != nil {
		return err
	}
	return a.printNodes(m.Nodes)
}

func (a *app) printNodes(nodes []schemas.Node) error {
	if a.flags.json {
		for i := range nodes {
			if err := a.printJSON(nodeJSON(&nodes[i])); err != nil {
				return err
			}
		}
		return nil
	}
	if len(nodes) == 0 {
		a.console.info(a.t("nodes.nothing"))
		return nil
	}
	a.nodeTable(nodes).print(a.println)
	return nil
}

func (a *app) nodeTable(nodes []schemas.Node) *table {
	t := newTable(a.t("nodes.name"), a.t("nodes.node-id"), a.t("nodes.state"), a.t("nodes.zone"), ">"+a.t("nodes.weight"),
		">"+a.t("nodes.chunks"), ">"+a.t("nodes.bytes"), ">"+a.t("nodes.free"), "")
	for i := range nodes {
		n := &nodes[i]
		t.add(a.show(n.Name), string(n.ID), a.state(n.State), dash(n.Zone), a.number(int64(n.Weight)),
			a.number(n.Chunks), a.size(n.Bytes), a.size(n.Free), a.trouble(n.Trouble))
	}
	return t
}

// state is a node's state in the person's language; one that this program does
// not know stays as it is.
func (a *app) state(s schemas.State) string {
	switch s {
	case schemas.Up:
		return a.t("nodes.state-up")
	case schemas.Draining:
		return a.t("nodes.state-draining")
	case schemas.Down:
		return a.t("nodes.state-down")
	case schemas.Gone:
		return a.t("nodes.state-gone")
	}
	return quotePath(string(s))
}

// trouble is why a node refuses puts, "" when it does not.
func (a *app) trouble(code string) string {
	if code == "" {
		return ""
	}
	return a.t("nodes.trouble", "Code", quotePath(code))
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return quotePath(s)
}

// jsonNode is what --json prints of a node.
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
}

func nodeJSON(n *schemas.Node) jsonNode {
	return jsonNode{
		ID: string(n.ID), Name: n.Name, State: string(n.State), Zone: n.Zone, Weight: n.Weight, Chunks: n.Chunks,
		Bytes: n.Bytes, Free: n.Free, Capacity: n.Capacity, Version: n.Version,
		Registered: stamp(n.Registered), Trouble: n.Trouble,
	}
}
