package main

import (
	"context"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newNode(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "node",
		Aliases: []string{"nó", "no"},
		Short:   a.t("node.short"),
		Long:    a.t("node.long"),
		Args:    a.takes(0, 0),
		RunE:    func(*cobra.Command, []string) error { return a.usage("node.which") },
	}
	var force bool
	change := func(use, short, done string, state schemas.State) *cobra.Command {
		return &cobra.Command{
			Use: use + " " + a.t("node.args"), Short: short, Args: a.takes(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return runNodeChange(cmd.Context(), a, args[0], state, force, done)
			},
		}
	}
	remove := change("remove", a.t("node.remove"), a.t("node.removed"), schemas.Removed)
	remove.Flags().BoolVar(&force, "force", false, a.t("node.flag-force"))
	cmd.AddCommand(
		change("drain", a.t("node.drain"), a.t("node.drained"), schemas.Draining),
		change("undrain", a.t("node.undrain"), a.t("node.undrained"), schemas.Up),
		remove,
	)
	return cmd
}

// runNodeChange changes a node's state, prints done, and shows the nodes as they are then.
func runNodeChange(ctx context.Context, a *app, node string, state schemas.State, force bool, done string) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	m, err := s.SetNodeState(ctx, node, state, force)
	if err != nil {
		return err
	}
	a.info(done)
	return printNodes(a.console, m.Nodes)
}
