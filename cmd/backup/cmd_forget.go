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
		RunE:    func(cmd *cobra.Command, args []string) error { return runForget(cmd.Context(), a, args[0], false) },
	}
}

// jsonForgotten is the JSON of a version that was forgotten, or that is listed again.
type jsonForgotten struct {
	ID        string `json:"id"`
	Forgotten bool   `json:"forgotten"`
}

// runForget forgets a version or all versions of a record, or undoes that.
func runForget(ctx context.Context, a *app, id string, undo bool) error {
	if err := checkID(a.console, id); err != nil {
		return err
	}
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if id, err = s.resolve(ctx, id); err != nil {
		return err
	}
	versions, err := s.Forget(ctx, id, undo)
	if err != nil {
		return err
	}
	for _, v := range versions {
		switch {
		case a.json:
			if err := a.printJSON(jsonForgotten{v, !undo}); err != nil {
				return err
			}
		case undo:
			a.println(a.t("forget.undone", "ID", a.show(v)))
		default:
			a.println(a.t("forget.done", "ID", a.show(v)))
		}
	}
	switch {
	case len(versions) == 0:
		a.info(a.t("forget.nothing"))
	case !undo:
		a.info(a.t("forget.until", "ID", a.show(id)))
	}
	return nil
}

// checkID checks NAME or NAME@VERSION.
func checkID(c *console, id string) error {
	if _, _, err := schemas.ParseVersionID(id); err != nil {
		return c.usage("error.bad-id", "Detail", c.told(err))
	}
	return nil
}
