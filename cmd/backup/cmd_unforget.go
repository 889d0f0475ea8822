package main

import "github.com/spf13/cobra"

func newUnforget(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "unforget " + a.t("forget.args"),
		Aliases: []string{"lembrar"},
		Short:   a.t("forget.undo-short"),
		Args:    a.takes(1, 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runForget(cmd.Context(), a, args[0], true) },
	}
}
