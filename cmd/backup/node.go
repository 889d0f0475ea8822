package main

import (
	"context"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newNode(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "node",
		Aliases: []string{"no", "nó"},
		Short:   a.t("node.short"),
		Long:    a.t("node.long"),
		Args:    a.takes(0, 0),
		RunE:    func(*cobra.Command, []string) error { return a.usage("node.which") },
	}
	var force bool
	change := func(use, short, said string, state schemas.State) *cobra.Command {
		return &cobra.Command{
			Use: use + " " + a.t("node.args"), Short: short, Args: a.takes(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.setNodeState(cmd.Context(), args[0], state, force, said)
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

// setNodeState changes a node's state, says so, and shows the nodes as they are then.
func (a *app) setNodeState(ctx context.Context, node string, state schemas.State, force bool, said string) error {
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	m, err := b.SetNodeState(ctx, node, state, force)
	if err != nil {
		return err
	}
	a.console.info(said)
	return a.printNodes(m.Nodes)
}
