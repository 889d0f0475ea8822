package main

import (
	"context"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newForget(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "forget " + a.t("forget.args"),
		Aliases: []string{"esquecer"},
		Short:   a.t("forget.short"),
		Long:    a.t("forget.long"),
		Args:    a.takes(1, 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.forget(cmd.Context(), args[0], false) },
	}
}

func newUnforget(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "unforget " + a.t("forget.args"),
		Aliases: []string{"lembrar"},
		Short:   a.t("forget.undo-short"),
		Args:    a.takes(1, 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.forget(cmd.Context(), args[0], true) },
	}
}

// jsonForgotten is what --json prints of a version that was forgotten, or is not any
// more.
type jsonForgotten struct {
	ID        string `json:"id"`
	Forgotten bool   `json:"forgotten"`
}

func (a *app) forget(ctx context.Context, id string, undo bool) error {
	if _, _, err := schemas.ParseVersionID(id); err != nil {
		return a.usage("error.bad-id", "Detail", err.Error())
	}
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	versions, err := b.Forget(ctx, id, undo)
	if err != nil {
		return err
	}
	for _, v := range versions {
		switch {
		case a.flags.json:
			if err := a.printJSON(jsonForgotten{v, !undo}); err != nil {
				return err
			}
		case undo:
			a.println(a.t("forget.back", "ID", a.show(v)))
		default:
			a.println(a.t("forget.gone", "ID", a.show(v)))
		}
	}
	switch {
	case len(versions) == 0:
		a.console.info(a.t("forget.nothing"))
	case !undo:
		a.console.info(a.t("forget.until", "ID", a.show(id)))
	}
	return nil
}
