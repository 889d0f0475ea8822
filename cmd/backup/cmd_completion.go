package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// newCompletion writes scripts that complete commands and flags in shells.
func newCompletion(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:       "completion " + strings.Join(shells, "|"),
		Short:     a.t("completion.short"),
		Long:      a.t("completion.long"),
		Args:      a.takes(1, 1),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch {
			case !slices.Contains(shells, args[0]):
				return a.usage("error.shell", "Shell", args[0], "Shells", strings.Join(shells, ", "))
			case args[0] == "bash":
				return root.GenBashCompletionV2(a.out, true)
			case args[0] == "zsh":
				return root.GenZshCompletion(a.out)
			case args[0] == "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.out)
		},
	}
}
