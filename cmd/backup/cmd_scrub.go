package main

import (
	"context"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newScrub(a *app) *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use:     "scrub " + a.t("scrub.args"),
		Aliases: []string{"reler"},
		Short:   a.t("scrub.short"),
		Long:    a.t("scrub.long"),
		Args:    a.takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if now {
				return startScrub(cmd.Context(), a, argument(args, 0))
			}
			return showScrubs(cmd.Context(), a, argument(args, 0))
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, a.t("scrub.flag-now"))
	return cmd
}

// showScrubs shows the progress of the scrub of one node, given by name or id, or of all.
func showScrubs(ctx context.Context, a *app, node string) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	status, err := s.Status(ctx)
	if err != nil {
		return err
	}
	t := newTable(a.t("nodes.name"), a.t("scrub.ended"), a.t("scrub.running"), ">"+a.t("scrub.found"))
	found := false
	for i := range status.Nodes {
		n := &status.Nodes[i]
		if node != "" && node != n.Node.Name && node != string(n.Node.ID) {
			continue
		}
		found = true
		if a.json {
			if err := a.printJSON(scrubJSON(n)); err != nil {
				return err
			}
			continue
		}
		ended, running := "-", "-"
		if n.Scrub.Ended > 0 {
			ended = a.when(n.Scrub.Ended)
		}
		if n.Scrub.Running {
			running = a.t("scrub.percent", "Percent", a.number(int64(100*n.Scrub.Done)))
		}
		t.add(a.show(n.Node.Name), ended, running, a.number(n.Scrub.Found))
	}
	if !found && node != "" {
		return schemas.Explain(schemas.UnknownNode, "no-such-node", "no storage node is called \"{node}\"", "node", node)
	}
	if !a.json {
		t.print(a.row)
	}
	return nil
}

// startScrub starts a scrub on one node, or on all nodes.
func startScrub(ctx context.Context, a *app, node string) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	names, err := s.Scrub(ctx, node)
	if err != nil {
		return err
	}
	for _, name := range names {
		if a.json {
			if err := a.printJSON(jsonScrub{Node: name, Running: true}); err != nil {
				return err
			}
			continue
		}
		a.println(a.t("scrub.started", "Node", a.show(name)))
	}
	return nil
}

// jsonScrub is the JSON of a node's scrub.
type jsonScrub struct {
	Node    string  `json:"node"`
	Running bool    `json:"running"`
	Done    float64 `json:"done"` // part of the current round, 0 to 1
	Ended   string  `json:"ended,omitempty"`
	Found   int64   `json:"found"` // damaged chunks since the node started
}

func scrubJSON(n *schemas.NodeStatus) jsonScrub {
	j := jsonScrub{Node: n.Node.Name, Running: n.Scrub.Running, Done: n.Scrub.Done, Found: n.Scrub.Found}
	if n.Scrub.Ended > 0 {
		j.Ended = stamp(n.Scrub.Ended)
	}
	return j
}
